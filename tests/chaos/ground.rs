//! Where the processes live: their directories and, where there is a namespace for each, a network and disks that can be
//! hurt.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use steadfast::cli::child::Home;

use crate::network::Network;

/// The most members there are, and one that comes before another goes.
pub const HOSTS: usize = 5;
/// Of clients, members and probes.
const PORTS: [u16; 3] = [7400, 7401, 7480];
/// Logs so short that whoever is away for a while needs the store of another.
const SHORT_LOGS: [&str; 3] = [
    "STEADFAST_WAL__SEGMENT_BYTES=262144",
    "STEADFAST_WAL__RETAIN_BYTES=524288",
    "STEADFAST_ENGINE__FLUSH_AFTER_WAL_BYTES=524288",
];
/// What is preloaded into a node to hold its syncs up.
const SLOW_DISK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/chaos/slow_disk.c");

pub struct Ground {
    homes: Vec<Home>,
    /// With namespaces only.
    network: Option<Network>,
    scratch: PathBuf,
}

impl Ground {
    /// Processes that share the loopback interface and the disk.
    pub fn shared(scratch: &Path) -> anyhow::Result<Ground> {
        let mut ground = Ground::empty(scratch);
        for host in 0..HOSTS {
            let mut home = Home::new(ground.directory(host))?;
            home.launcher.push("env".into());
            home.launcher.extend(SHORT_LOGS.map(OsString::from));
            ground.homes.push(home);
        }
        Ok(ground)
    }

    /// A namespace for each, and disks that can be made slow.
    pub fn of_namespaces(scratch: &Path) -> anyhow::Result<Ground> {
        let network = Network::new(HOSTS)?;
        let library = compile(scratch)?;
        let mut ground = Ground::empty(scratch);
        for host in 0..HOSTS {
            let address = |port| SocketAddr::from((Network::address(host), port));
            let mut home = Home::at(ground.directory(host), PORTS.map(address));
            home.launcher = network.launcher(host);
            home.launcher.push("env".into());
            home.launcher.extend(SHORT_LOGS.map(OsString::from));
            home.launcher.extend([
                OsString::from("STEADFAST_INSECURE=true"),
                variable("LD_PRELOAD=", &library),
                variable("SLOW_DISK=", &ground.slowness(host)),
            ]);
            ground.homes.push(home);
            ground.slow_down(host, 0)?;
        }
        ground.network = Some(network);
        Ok(ground)
    }

    fn empty(scratch: &Path) -> Ground {
        Ground {
            homes: Vec::new(),
            network: None,
            scratch: scratch.to_owned(),
        }
    }

    pub fn homes(&self) -> &[Home] {
        &self.homes
    }

    pub fn network(&mut self) -> Option<&mut Network> {
        self.network.as_mut()
    }

    /// Which host it is that clients reach there.
    pub fn host(&self, home: &Home) -> usize {
        let mut homes = self.homes.iter();
        let host = homes.position(|other| other.client == home.client);
        host.expect("every home is one of these")
    }

    /// From now on each sync of a host takes so many milliseconds longer; one that waits already waits no longer than that.
    pub fn slow_down(&self, host: usize, milliseconds: u64) -> anyhow::Result<()> {
        let slowness = self.slowness(host);
        std::fs::write(&slowness, milliseconds.to_string())
            .with_context(|| format!("cannot write {}", slowness.display()))
    }

    fn slowness(&self, host: usize) -> PathBuf {
        self.scratch.join(format!("node{}.slowness", host + 1))
    }

    fn directory(&self, host: usize) -> PathBuf {
        self.scratch.join(format!("node{}", host + 1))
    }
}

/// Compiles what holds syncs up.
fn compile(scratch: &Path) -> anyhow::Result<PathBuf> {
    let library = scratch.join("slow_disk.so");
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .arg(SLOW_DISK)
        .status();
    ensure!(
        compiled.context("there is no C compiler `cc`")?.success(),
        "{SLOW_DISK} cannot be compiled"
    );
    Ok(library)
}

fn variable(name: &str, value: &Path) -> OsString {
    let mut variable = OsString::from(name);
    variable.push(value);
    variable
}
