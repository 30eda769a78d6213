//! A set whose majority is lost for good, and what is made of a directory that is left.

use std::sync::Arc;

use steadfast::base::disk::RealDisk;
use steadfast::base::{CommitLevel, Epoch, ReadLevel};
use steadfast::config::Config;
use steadfast::control::Role;
use steadfast::node::{RefoundError, Remains};
use tempfile::TempDir;

use crate::support::{Member, set_of_three, until};

fn remains(directory: &TempDir) -> Remains {
    let config = Config {
        data_dir: directory.path().join("data"),
        ..Config::default()
    };
    Remains::open(Arc::new(RealDisk), config).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_set_holds_what_one_directory_held_and_others_join_it_anew() {
    let [first, second, third] = set_of_three().await;
    for id in 0..20 {
        first.put(id, id, CommitLevel::All).await.unwrap();
    }
    let old = third.status();
    let directory = third.stop().await;
    // All of the others is lost.
    for member in [second, first] {
        drop(member.stop().await);
    }
    let into = tempfile::tempdir().unwrap();
    let data = into.path().join("data");
    let left = remains(&directory);
    let epoch = left.epoch();
    assert!(epoch >= old.epoch);
    let (_, unproven) = left.account();
    assert!(
        unproven
            .join("; ")
            .contains("data members without this one")
    );
    let other = left.refound(Epoch(epoch.0 + 1), &data);
    assert!(matches!(other, Err(RefoundError::OtherEpoch { open, .. }) if open == epoch));
    assert!(!data.exists());
    let made = remains(&directory).refound(epoch, &data).unwrap();
    assert_ne!(made.lineage.to_string(), old.lineage);
    let again = remains(&directory).refound(epoch, &data);
    assert!(matches!(again, Err(RefoundError::Start(_))), "{again:?}");

    let new = Member::start_in(into, None).await.unwrap();
    until("it serves", || new.serves()).await;
    assert_eq!(new.status().lineage, made.lineage.to_string());
    for id in 0..20 {
        let read = new.get(id, ReadLevel::Primary).await.unwrap();
        assert_eq!(read, Some(id));
    }
    new.put(20, 20, CommitLevel::Quorum).await.unwrap();
    let joined = new.join(Role::Data).await;
    until("two count", || new.counting().len() == 2).await;
    new.put(21, 21, CommitLevel::All).await.unwrap();
    for id in 0..22 {
        while joined.get(id, ReadLevel::Local).await.unwrap() != Some(id) {
            tokio::task::yield_now().await;
        }
    }
    for member in [joined, new] {
        member.stop().await;
    }
    // The old directory is what it was.
    assert_eq!(remains(&directory).epoch(), epoch);
}
