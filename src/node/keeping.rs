//! What a member does in the set's bucket after each restore point that it was asked for: removes what is not kept, and looks
//! whether the rest is whole.

use std::num::NonZeroU32;
use std::sync::atomic::AtomicU64;

use tracing::{info, warn};

use super::Serving;
use crate::backup::bucket::{Bucket, BucketUrl, Environment, Patience};
use crate::backup::prune::{self, Pruning};
use crate::backup::repository::{self, Repository};
use crate::backup::retention::Keep;
use crate::backup::verify::{self, Verified};
use crate::base::explained;
use crate::control::{BackupNote, BackupSettings, Command};

/// Why it is not known whether all is well.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Bucket(#[from] crate::backup::bucket::Error),
    #[error("cannot remove what is not kept")]
    Prune(#[from] prune::Error),
    #[error("cannot look whether restore points are whole")]
    Verify(#[from] repository::Error),
}

/// What settings keep.
fn keep(settings: &BackupSettings) -> Keep {
    Keep {
        days: Some(settings.keep_days).filter(|days| *days > 0),
        points: NonZeroU32::new(settings.keep_points),
    }
}

/// What is wrong with restore points: of each the first thing.
fn problem(verified: &[Verified]) -> Option<String> {
    let first = |of: &Verified| {
        let problem = of.problems.first()?;
        Some(format!("{}: {}", of.point, explained(problem)))
    };
    let problems: Vec<String> = verified.iter().filter_map(first).collect();
    (!problems.is_empty()).then(|| problems.join("; "))
}

impl Serving {
    /// Removes and looks, and tells the set what was found.
    pub(super) async fn keep_house(&self, bucket: &str, url: &BucketUrl) {
        let looked = Box::pin(self.prune_and_verify(url)).await;
        let problem = looked.unwrap_or_else(|cause| Some(explained(&cause)));
        if let Some(problem) = &problem {
            warn!(
                bucket,
                problem, "the set's restore points are not as they should be"
            );
        }
        let note = Command::Backup(BackupNote::Looked {
            bucket: bucket.to_owned(),
            at: self.clock.wall_millis(),
            problem,
        });
        if let Err(cause) = self.agreement.agree(note).await {
            warn!(%cause, "cannot tell the set whether its restore points are whole");
        }
    }

    async fn prune_and_verify(&self, bucket: &BucketUrl) -> Result<Option<String>, Error> {
        let opened = Bucket::open(bucket, &Environment::of_process(), Patience::default())?;
        let (repository, lineage) = (Repository::new(opened), self.identity.lineage);
        let settings = self.agreement.state().settings.backup.clone();
        let keep = keep(&settings);
        if keep.days.is_some() || keep.points.is_some() {
            let now = repository.now(lineage).await?;
            let pruning = Pruning::plan(&repository, lineage, keep, now).await?;
            let (dropped, removed) = (pruning.choice.dropped.len(), pruning.removal.len());
            pruning.carry_out(&repository, &AtomicU64::new(0)).await?;
            if dropped + removed > 0 {
                info!(%bucket, dropped, removed, "removed what is not kept");
            }
        }
        let holdings = repository.holdings(lineage).await?;
        let points: Vec<_> = holdings.points().collect();
        let verified = verify::verify(&repository, lineage, &holdings, points).await?;
        Ok(problem(&verified))
    }
}
