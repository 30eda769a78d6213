//! Directories that are lost, put back from an older copy, or used twice.

use std::path::Path;
use std::process::Command;

use steadfast::cli::child::{Home, Node};
use steadfast::cli::process_set::ProcessSet;

use crate::day::{BINARY, Day, directory, number, replace, stop};
use crate::traffic::Manner;

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.unwrap().success());
}

fn another(at: usize) -> usize {
    (at + 1) % 3
}

#[tokio::test]
async fn a_member_without_its_directory_returns_as_another_and_takes_its_old_place() {
    let mut day = Day::begin().await;
    day.under_load(Manner::Once, async |set, traffic| {
        let primary = set.whole().await.unwrap();
        let lost = another(primary.at);
        let old = number(set, lost).await;
        set.kill(lost).await.unwrap();
        traffic.more(20).await;
        replace(set, lost, old).await;
        // What the next one alone has acknowledged at async may be gone with it.
        let primary = set.whole().await.unwrap();
        let old = number(set, primary.at).await;
        set.kill(primary.at).await.unwrap();
        traffic.lose_disk(primary.epoch);
        traffic.after(primary.epoch).await;
        replace(set, primary.at, old).await;
        traffic.more(20).await;
    })
    .await;
}

#[tokio::test]
async fn an_emptied_directory_at_the_address_of_a_member_is_not_taken_for_it() {
    let mut day = Day::begin().await;
    day.under_load(Manner::Once, async |set, traffic| {
        let primary = set.whole().await.unwrap();
        let lost = another(primary.at);
        let old = number(set, lost).await;
        set.kill(lost).await.unwrap();
        // Nobody has told it to join: it is a set of its own.
        let place = directory(set, lost).with_file_name("stranger");
        let Home {
            client, peer, http, ..
        } = set.homes().nth(lost).unwrap();
        let home = Home::at(place, [client, peer, http].map(|at| at.parse().unwrap()));
        let mut stranger = Node::start(Path::new(BINARY), &home, None).await.unwrap();
        let refuses = set.until(|views| {
            let view = views[primary.at].as_ref().map_err(ToString::to_string)?;
            let member = view.members.iter().find(|member| member.number == old);
            let trouble = member.and_then(|member| member.trouble.clone());
            let trouble = trouble.unwrap_or_default();
            trouble.contains("lineage").then_some(()).ok_or(trouble)
        });
        refuses.await.unwrap();
        traffic.more(20).await;
        stranger.kill().await.unwrap();
        replace(set, lost, old).await;
    })
    .await;
}

/// Starts a node that is refused; says why.
async fn refused(home: &Home) -> String {
    let started = Node::start(Path::new(BINARY), home, None).await;
    started.map(drop).unwrap_err().to_string()
}

#[tokio::test]
async fn an_older_copy_of_a_directory_is_refused_and_its_newest_state_is_not() {
    let mut day = Day::begin().await;
    day.under_load(Manner::Once, async |set, traffic| {
        let at = another(set.whole().await.unwrap().at);
        let (place, older) = (
            directory(set, at),
            directory(set, at).with_extension("older"),
        );
        stop(set, at).await;
        copy(&place, &older);
        set.restart(at).await.unwrap();
        set.whole().await.unwrap();
        traffic.more(20).await;
        stop(set, at).await;
        let newest = place.with_extension("newest");
        rename(&place, &newest);
        rename(&older, &place);
        let why = refused(set.homes().nth(at).unwrap()).await;
        assert!(why.contains("not from this directory"), "{why}");
        traffic.more(20).await;
        std::fs::remove_dir_all(&place).unwrap();
        rename(&newest, &place);
        set.restart(at).await.unwrap();
    })
    .await;
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test needs no durable directory"
)]
fn rename(from: &Path, to: &Path) {
    std::fs::rename(from, to).unwrap();
}

async fn clone_of(set: &ProcessSet, at: usize) -> Home {
    let place = directory(set, at).with_extension("clone");
    copy(&directory(set, at), &place);
    Home::new(place).unwrap()
}

#[tokio::test]
async fn of_a_directory_and_its_copy_one_is_a_member_and_the_other_is_refused() {
    let mut day = Day::begin().await;
    day.under_load(Manner::Once, async |set, traffic| {
        let at = another(set.whole().await.unwrap().at);
        stop(set, at).await;
        let cloned = clone_of(set, at).await;
        set.restart(at).await.unwrap();
        let twice = refused(set.homes().nth(at).unwrap()).await;
        assert!(twice.contains("CANNOT_LISTEN"), "{twice}");
        let mut same = Home::new(directory(set, at)).unwrap();
        same.config.clone_from(&cloned.config);
        let locked = refused(&same).await;
        assert!(locked.contains("DIRECTORY_LOCKED"), "{locked}");
        let why = refused(&cloned).await;
        assert!(why.contains("not from this directory"), "{why}");
        traffic.more(20).await;
    })
    .await;
}
