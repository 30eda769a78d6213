//! Backups in a bucket whose server fails at every second request, and in one that takes nothing.

use std::num::NonZeroU32;
use std::sync::atomic::AtomicU64;

use steadfast::backup::bucket::{Bucket, Patience};
use steadfast::backup::prune::{Error, Pruning};
use steadfast::backup::repository::Repository;
use steadfast::backup::retention::Keep;
use steadfast::backup::verify::verify;
use steadfast::base::{LineageId, explained};

use super::places::{QUICK, S3, SECRET, Weather, credentials};
use super::set::Set;

/// How many restore points there are, none of which lacks anything.
async fn whole(repository: &Repository, lineage: LineageId) -> usize {
    let there = repository.holdings(lineage).await.unwrap();
    let verified = verify(repository, lineage, &there, there.points()).await;
    let verified = verified.unwrap();
    for point in &verified {
        assert!(point.is_whole(), "{:?}", point.problems);
    }
    verified.len()
}

/// What all but the latest restore point is dropped by.
async fn pruning(set: &Set) -> Pruning {
    let (repository, lineage) = (&set.repository, set.lineage);
    let keep = Keep {
        days: None,
        points: NonZeroU32::new(1),
    };
    let now = repository.now(lineage).await.unwrap();
    let pruning = Pruning::plan(repository, lineage, keep, now).await;
    pruning.unwrap()
}

async fn carry_out(pruning: Pruning, set: &Set) -> Result<(), Error> {
    pruning.carry_out(&set.repository, &AtomicU64::new(0)).await
}

#[tokio::test]
async fn a_storm_delays_what_is_backed_up_and_a_refusal_undoes_nothing() {
    let s3 = S3::start().await;
    if !s3.is_own() {
        return;
    }
    let patience = Patience {
        attempts: 40,
        ..QUICK
    };
    let bucket = Bucket::open(&s3.url("storm"), &credentials(SECRET), patience);
    s3.weather.send_replace(Weather::Storm);
    let (set, made) = Set::with_history(bucket.unwrap()).await;
    assert_eq!(whole(&set.repository, set.lineage).await, made.len());

    s3.weather.send_replace(Weather::Fair);
    let (dropping, before) = (pruning(&set).await, set.names().await);
    s3.weather
        .send_replace(Weather::Refuses(403, "AccessDenied"));
    let refused = carry_out(dropping, &set).await.unwrap_err();
    let refused = explained(&refused);
    assert!(refused.contains("AccessDenied"), "{refused}");
    assert_eq!(set.names().await, before);

    s3.weather.send_replace(Weather::Storm);
    carry_out(pruning(&set).await, &set).await.unwrap();
    assert_eq!(whole(&set.repository, set.lineage).await, 1);
}
