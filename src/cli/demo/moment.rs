//! A moment that is to come back: what was written by then, as every member shows it.

use super::super::error::CliError;
use super::super::get::columns;
use super::super::load::lookup;
use super::super::process_set::ProcessSet;
use super::failure;
use crate::backup::way::Target;
use crate::base::Stamp;
use crate::client::{Cell, Client};
use crate::model::KeyValue;

const VIEW: &str = "aircraft_stats";
/// The aircraft that are looked up.
const AIRCRAFT: [&str; 2] = ["N14228", "N730MQ"];

/// What there was at a moment.
#[derive(Debug)]
pub struct Moment {
    millis: u64,
    /// All features of some aircraft.
    cells: Vec<Vec<Cell>>,
    /// The digest of all rows.
    pub digest: String,
}

impl Moment {
    /// The moment of the last write. Not by a clock that anybody reads: after a failover stamps may be ahead of it for seconds.
    ///
    /// # Errors
    /// If the members do not hold the same.
    pub async fn of(last: Stamp, set: &ProcessSet) -> Result<Moment, CliError> {
        let primary = set.equal().await?;
        Ok(Moment {
            millis: last.hlc.millis(),
            cells: look_up(set.client(primary.at)?).await?,
            digest: failure::same(&set.digests().await?)?,
        })
    }

    /// When it was, as a restore is told.
    #[must_use]
    pub fn time(&self) -> Target {
        Target::Time(self.millis)
    }

    /// Was this written later?
    #[must_use]
    pub fn is_before(&self, stamp: Stamp) -> bool {
        stamp.hlc.millis() > self.millis
    }

    /// Does every member show what there was?
    ///
    /// # Errors
    /// If one does not.
    pub async fn check(&self, set: &ProcessSet) -> Result<(), CliError> {
        let mut is_back = true;
        for member in set.holders() {
            is_back &= self.is_back(member).await?;
        }
        let digest = failure::same(&set.digests().await?)?;
        if is_back && digest == self.digest {
            return Ok(());
        }
        let (time, before) = (self.time(), &self.digest);
        let message = format!("{time} is not what came back: digest {digest}, not {before}");
        Err(CliError::failed("NOT_RESTORED", message))
    }

    /// Do the aircraft have the features that they had?
    ///
    /// # Errors
    /// If they cannot be looked up.
    pub async fn is_back(&self, client: &Client) -> Result<bool, CliError> {
        Ok(look_up(client).await? == self.cells)
    }
}

async fn look_up(client: &Client) -> Result<Vec<Vec<Cell>>, CliError> {
    let view = client.view(VIEW).await?;
    let keys = AIRCRAFT.map(|tailnum| vec![KeyValue::String(tailnum.into())]);
    let answer = client.get(lookup(&view, &keys)).await?;
    let columns = columns(answer.views)?;
    Ok(columns
        .iter()
        .map(|column| column.cells().to_vec())
        .collect())
}
