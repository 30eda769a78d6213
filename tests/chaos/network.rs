//! Hosts that are network namespaces, each with a cable to this one, which passes on what they send to each other, or
//! loses it.
//!
//! A rule that loses what goes from one to another says nothing to either, as a broken network does. This namespace must be
//! a fresh one, whose end ends all.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, ensure};

/// Where clients are.
const CLIENTS: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 254);

/// The hosts, and what is lost between them.
pub struct Network {
    /// Each holds a namespace for as long as its input is open.
    holders: Vec<Child>,
    /// From whom to whom, and how often it was asked for.
    cuts: BTreeMap<(usize, usize), usize>,
}

impl Network {
    pub fn new(hosts: usize) -> anyhow::Result<Network> {
        let links = Command::new("ip").args(["-oneline", "link"]).output();
        let links = links.context("`ip` is missing: install iproute2")?;
        let links = String::from_utf8_lossy(&links.stdout).lines().count();
        ensure!(
            links == 1,
            "this is not a fresh network namespace: run it by `make chaos`"
        );
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("nothing is forwarded")?;
        ip(&format!(
            "link set lo up\naddress add {CLIENTS}/32 dev lo\n"
        ))?;
        let mut network = Network {
            holders: Vec::new(),
            cuts: BTreeMap::new(),
        };
        for host in 0..hosts {
            network.add(host)?;
        }
        Ok(network)
    }

    fn add(&mut self, host: usize) -> anyhow::Result<()> {
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo ready && exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("`unshare` is missing: install util-linux")?;
        let mut line = String::new();
        BufReader::new(holder.stdout.take().context("it has an output")?).read_line(&mut line)?;
        ensure!(line == "ready\n", "no namespace can be made for a host");
        let (place, address) = (holder.id(), Network::address(host));
        ip(&format!(
            "link add host{host} type veth peer name eth0 netns {place}\n\
             link set host{host} up\n\
             route add {address} dev host{host}\n"
        ))?;
        let inside = format!(
            "link set lo up\n\
             address add {address}/32 dev eth0\n\
             link set eth0 up\n\
             route add {CLIENTS} dev eth0\n\
             route add default via {CLIENTS}\n"
        );
        let mut enter = Command::new("nsenter");
        enter.args(["--target", &place.to_string(), "--net", "ip"]);
        batch(enter, &inside)?;
        self.holders.push(holder);
        Ok(())
    }

    pub fn address(host: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 99, 0, u8::try_from(host + 1).expect("few hosts"))
    }

    /// The command that starts a command on a host.
    pub fn launcher(&self, host: usize) -> Vec<OsString> {
        let place = self.holders[host].id().to_string();
        ["nsenter", "--target", &place, "--net"]
            .map(OsString::from)
            .into()
    }

    /// From now on what one sends to the other is lost.
    pub fn cut(&mut self, ways: &[(usize, usize)]) -> anyhow::Result<()> {
        for way in ways {
            let cuts = self.cuts.entry(*way).or_default();
            *cuts += 1;
            if *cuts == 1 {
                ip(&rule("add", *way))?;
            }
        }
        Ok(())
    }

    /// Takes back a cut of these ways.
    pub fn mend(&mut self, ways: &[(usize, usize)]) -> anyhow::Result<()> {
        for way in ways {
            let cuts = self.cuts.get_mut(way).context("it was not cut")?;
            *cuts -= 1;
            if *cuts == 0 {
                self.cuts.remove(way);
                ip(&rule("delete", *way))?;
            }
        }
        Ok(())
    }

    /// Takes back all cuts.
    pub fn mend_all(&mut self) -> anyhow::Result<()> {
        let cuts = std::mem::take(&mut self.cuts);
        cuts.keys().try_for_each(|way| ip(&rule("delete", *way)))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for holder in &mut self.holders {
            // Its namespace ends with it.
            let _ended = holder.kill().and_then(|()| holder.wait());
        }
    }
}

fn rule(what: &str, (from, to): (usize, usize)) -> String {
    let (from, to) = (Network::address(from), Network::address(to));
    format!("rule {what} from {from} to {to} blackhole\n")
}

fn ip(lines: &str) -> anyhow::Result<()> {
    batch(Command::new("ip"), lines)
}

fn batch(mut command: Command, lines: &str) -> anyhow::Result<()> {
    let mut child = command
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .spawn()?;
    let mut input = child.stdin.take().context("it has an input")?;
    input.write_all(lines.as_bytes())?;
    drop(input);
    ensure!(child.wait()?.success(), "`ip` refuses to do this:\n{lines}");
    Ok(())
}
