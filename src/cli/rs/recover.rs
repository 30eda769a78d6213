//! `steadfast rs unsafe-recover`

use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::super::error::CliError;
use super::super::output::{Output, print, print_json};
use super::change::confirm;
use crate::base::disk::RealDisk;
use crate::base::{Epoch, explained};
use crate::config::Config;
use crate::node::{RefoundError, Remains};

/// Makes a set anew from a directory, saying first what may be lost.
pub(super) fn recover(
    data_dir: &Path,
    into: &Path,
    epoch: u64,
    yes: bool,
    output: Output,
) -> Result<(), CliError> {
    let config = Config {
        data_dir: data_dir.to_owned(),
        ..Config::default()
    };
    let remains = Remains::open(Arc::new(RealDisk), config)?;
    let (held, unproven) = remains.account();
    let (from, to) = (data_dir.display(), into.display());
    let doubts: String = unproven
        .iter()
        .map(|doubt| format!("\n  {doubt}"))
        .collect();
    confirm(
        &format!(
            "{to} becomes a new set of one, with what {from} holds of epoch {} and before: {held}\n\
             it cannot be proven that this is there:{doubts}\n\
             the members that are lost are never to be started again: they would be another set with the same views",
            remains.epoch()
        ),
        yes,
    )?;
    let identity = remains.refound(Epoch(epoch), into)?;
    let lineage = identity.lineage.to_string();
    match output {
        Output::Json => print_json(&json!({
            "data_dir": into,
            "lineage": lineage,
            "incarnation": identity.incarnation.to_string(),
            "held": held,
            "unproven": unproven,
        })),
        Output::Table => print(&format!(
            "{to} is a new replica set of one, {lineage}; start it with\n  steadfast serve --data-dir {to}"
        )),
    }
}

impl From<RefoundError> for CliError {
    fn from(error: RefoundError) -> CliError {
        match error {
            RefoundError::Start(cause) => cause.into(),
            error @ (RefoundError::NoMember { .. }
            | RefoundError::NoRows { .. }
            | RefoundError::OtherEpoch { .. }) => CliError::refused(explained(&error)),
        }
    }
}
