//! A set of processes, put under load for a while, and judged afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use steadfast::base::clock::{now_monotonic, sleep};
use steadfast::cli::child::Home;
use steadfast::cli::network::Network;
use steadfast::cli::process_set::{ProcessSet, View, own};
use steadfast::proto::v1::{self, MemberRole};
use tempfile::TempDir;

use crate::traffic::{Manner, Traffic, VIEW, held};

pub const BINARY: &str = env!("CARGO_BIN_EXE_steadfast");
/// Machines that do more than this are slow at times.
const QUIET: &str = "[server]\nslow_request_ms = 5000\n";
/// Lines of each node's log that a failure shows.
const LOG_LINES: usize = 60;

/// A set, which tells its story if the test fails.
pub struct Day {
    pub set: ProcessSet,
    scratch: TempDir,
}

impl Day {
    /// Three data members with a view.
    pub async fn begin() -> Day {
        Day::of([MemberRole::Data; 3], None, "", &[]).await
    }

    /// The same with these words before the command line of each.
    pub async fn begin_by(launcher: &[&str]) -> Day {
        Day::of([MemberRole::Data; 3], None, "", launcher).await
    }

    /// The same with a network between them that can be cut.
    pub async fn begin_apart() -> Day {
        Day::of([MemberRole::Data; 3], Some(Network::default()), "", &[]).await
    }

    /// Two data members and an arbiter, likewise.
    pub async fn begin_with_arbiter() -> Day {
        let roles = [MemberRole::Data, MemberRole::Data, MemberRole::Arbiter];
        Day::of(roles, Some(Network::default()), "", &[]).await
    }

    /// Three data members with a view and these settings.
    pub async fn begin_configured(config: &str) -> Day {
        Day::of([MemberRole::Data; 3], None, config, &[]).await
    }

    async fn of(
        roles: [MemberRole; 3],
        network: Option<Network>,
        config: &str,
        launcher: &[&str],
    ) -> Day {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("steadfast.toml");
        std::fs::write(&path, format!("{QUIET}{config}")).unwrap();
        let set = ProcessSet::new(Path::new(BINARY), network);
        let mut day = Day { set, scratch };
        for (number, role) in (1..).zip(roles) {
            let home = day.set.home(day.scratch.path(), number).await;
            let mut home = home.unwrap();
            (home.role, home.config) = (role, Some(path.clone()));
            home.launcher = launcher.iter().map(Into::into).collect();
            day.set.add(home).await.unwrap();
        }
        let primary = day.set.whole().await.unwrap();
        let client = day.set.client(primary.at).unwrap();
        client.create_view(VIEW.to_owned()).await.unwrap();
        day.set.equal().await.unwrap();
        day
    }

    /// A home for one more node.
    pub async fn home(&self, number: u8) -> Home {
        let home = self.set.home(self.scratch.path(), number).await;
        home.unwrap()
    }

    /// Has clients call while something happens to the set. Then it must be whole and equal again, and what the clients were
    /// told must be true.
    pub async fn under_load<T>(
        &mut self,
        manner: Manner,
        happens: impl AsyncFnOnce(&mut ProcessSet, &Traffic) -> T,
    ) -> (T, Traffic) {
        let traffic = Traffic::new(self.set.endpoints());
        let happens = Box::pin(happens(&mut self.set, &traffic));
        let done = traffic.beside(manner, happens).await;
        let held = self.settled(&traffic.keys()).await;
        one_primary_an_epoch(&self.set.logs());
        traffic.judge(&held);
        (done, traffic)
    }

    /// The rows that each member holds of these, once all hold the same and nothing is written any more: what a client has
    /// given up may be on its way still.
    async fn settled(&self, keys: &[u64]) -> Vec<BTreeMap<u64, u64>> {
        loop {
            self.set.equal().await.unwrap();
            let before = applied(&self.set.look().await);
            let digests = self.set.digests().await.unwrap();
            let mut rows = Vec::new();
            for member in self.set.holders() {
                rows.push(held(member, keys).await.unwrap());
            }
            if before.is_none() || applied(&self.set.look().await) != before {
                continue;
            }
            assert!(
                digests.iter().all(|digest| *digest == digests[0]),
                "the members differ: {digests:?}"
            );
            return rows;
        }
    }
}

/// What each member has applied, if each says so.
fn applied(views: &[View]) -> Option<Vec<String>> {
    let holders = views.iter().map(own);
    let holders = holders.filter(|own| own.is_none_or(|own| own.role() != MemberRole::Arbiter));
    holders.map(|own| own?.applied.clone()).collect()
}

fn one_primary_an_epoch(logs: &[String]) {
    let mut opened = BTreeSet::new();
    for line in logs.iter().flat_map(|log| log.lines()) {
        if let Some((_, epoch)) = line.split_once(": serves writes epoch=") {
            assert!(opened.insert(epoch), "twice: {line}");
        }
    }
    assert!(!opened.is_empty());
}

/// Stops a member as it should be, SIGTERM.
pub async fn stop(set: &mut ProcessSet, at: usize) {
    set.terminate(at).unwrap();
    let status = ended(set, at).await;
    assert!(status.success(), "{status}");
}

/// Waits until a member's process has ended.
pub async fn ended(set: &mut ProcessSet, at: usize) -> std::process::ExitStatus {
    let begun = now_monotonic();
    loop {
        if let Some(status) = set.ended(at) {
            return status;
        }
        let waited = begun.elapsed();
        assert!(waited < Duration::from_secs(60), "member {at} does not end");
        sleep(Duration::from_millis(5)).await;
    }
}

/// The directory of a member.
pub fn directory(set: &ProcessSet, at: usize) -> PathBuf {
    set.homes().nth(at).unwrap().directory().to_owned()
}

/// Starts a node anew where a member was whose directory is of no use, and has it take that one's place. It is the last of
/// the set then.
pub async fn replace(set: &mut ProcessSet, at: usize, old: u64) {
    let home = set.dismiss(at).await.unwrap();
    std::fs::remove_dir_all(home.directory()).unwrap();
    let new = newcomer(set, home).await;
    let asked = set.client(set.endpoints().len() - 1).unwrap();
    asked.replace_member(old, new).await.unwrap();
    set.whole().await.unwrap();
}

/// Starts one more node, the last of the set, and waits until it has joined; says its number.
pub async fn newcomer(set: &mut ProcessSet, home: Home) -> u64 {
    set.enlist(home).await.unwrap();
    let last = set.endpoints().len() - 1;
    let joined = set.until(|views| {
        let new = own(&views[last]).map(|own| own.number);
        let knows = |view: &v1::GetReplicaSetResponse| {
            view.members.iter().any(|member| Some(member.number) == new)
        };
        let is_known = views.iter().flatten().all(knows) && views.iter().flatten().count() > 1;
        let new = new.filter(|new| *new > 1 && is_known);
        new.ok_or_else(|| "the new member is not known".to_owned())
    });
    joined.await.unwrap()
}

/// A member's number.
pub async fn number(set: &ProcessSet, at: usize) -> u64 {
    let view = set.client(at).unwrap().replica_set().await;
    view.unwrap().answered_by
}

impl Drop for Day {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for (number, log) in (1..).zip(self.set.logs()) {
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
            eprintln!("--- node {number}\n{tail}");
        }
    }
}
