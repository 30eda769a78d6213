//! The network between the processes of a set, which can be cut without being root.
//!
//! Each member is told to the others by a loopback address of its own, at which a proxy passes on what comes. A cut holds
//! everything up and ends nothing, as a network does that loses packets: to the member that is cut off, and from it, which
//! is known by the sockets of its process. What a connection is for is known by its first call.

mod service;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use futures::StreamExt as _;
use futures::future::try_join;
use futures::stream::FuturesUnordered;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use self::service::Recogniser;
pub use self::service::Service;
use super::error::CliError;
use crate::base::TaskGroup;

const CHUNK_BYTES: usize = 64 << 10;

/// Proxies in front of members, none at first. They end with it.
#[derive(Debug, Default)]
pub struct Network {
    tasks: TaskGroup,
    cuts: watch::Sender<Vec<Severed>>,
}

/// What does not pass: connections that have all these members at their ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// One member, or two.
    pub ends: Vec<End>,
    /// Only what is for this.
    pub service: Option<Service>,
}

/// A member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// By which others are told of it.
    pub host: Ipv4Addr,
    /// Its process.
    pub process: u32,
}

/// A cut in force.
#[derive(Debug)]
struct Severed {
    /// With the ports from which they have connected to others.
    ends: Vec<(End, BTreeSet<u16>)>,
    service: Option<Service>,
}

impl Severed {
    fn find_ports(&mut self) {
        for (end, ports) in &mut self.ends {
            *ports = ports_of(end.process);
        }
    }
}

/// A connection from one member to another.
#[derive(Debug, Clone)]
struct Link {
    from: u16,
    to: Ipv4Addr,
    /// What it is for, once that is known.
    service: Arc<OnceLock<Service>>,
    cuts: watch::Receiver<Vec<Severed>>,
}

impl Network {
    /// Passes on to a member that listens at `address` what comes to the same port of `host`.
    ///
    /// # Errors
    /// If nobody can listen there.
    pub async fn pass_on(&self, host: Ipv4Addr, address: &str) -> Result<(), CliError> {
        let failed = |error: String| {
            let message = format!("cannot put a proxy in front of {address}: {error}");
            CliError::failed("NODE_FAILED", message)
        };
        let to: SocketAddr = address
            .parse()
            .map_err(|error| failed(format!("{error}")))?;
        let listener = TcpListener::bind((host, to.port())).await;
        let listener = listener.map_err(|error| failed(error.to_string()))?;
        let cuts = self.cuts.clone();
        self.tasks
            .spawn_finite("proxy", accept(listener, host, to, cuts));
        Ok(())
    }

    /// Lets everything pass but this, in the place of all cuts before.
    pub fn cut(&self, cuts: impl IntoIterator<Item = Cut>) {
        let sever = |cut: Cut| {
            let ends = cut.ends.into_iter().map(|end| (end, BTreeSet::new()));
            let mut severed = Severed {
                ends: ends.collect(),
                service: cut.service,
            };
            severed.find_ports();
            severed
        };
        self.cuts
            .send_replace(cuts.into_iter().map(sever).collect());
    }
}

async fn accept(
    listener: TcpListener,
    host: Ipv4Addr,
    to: SocketAddr,
    cuts: watch::Sender<Vec<Severed>>,
) {
    let mut links = FuturesUnordered::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_ended) = links.next() => continue,
        };
        let Ok((incoming, from)) = accepted else {
            continue;
        };
        cuts.send_if_modified(|cuts| {
            cuts.iter_mut().for_each(Severed::find_ports);
            false
        });
        let link = Link {
            from: from.port(),
            to: host,
            service: Arc::default(),
            cuts: cuts.subscribe(),
        };
        links.push(link.pass(incoming, to));
    }
}

impl Link {
    /// Connects the two for as long as both want. An error of one ends both, as if the other had ended.
    async fn pass(mut self, incoming: TcpStream, to: SocketAddr) -> std::io::Result<((), ())> {
        self.is_whole().await;
        let outgoing = TcpStream::connect(to).await?;
        for stream in [&incoming, &outgoing] {
            stream.set_nodelay(true)?;
        }
        let (incoming, outgoing) = (incoming.into_split(), outgoing.into_split());
        let calls = Some(Recogniser::default());
        let there = self.clone().pump(incoming.0, outgoing.1, calls);
        let back = self.pump(outgoing.0, incoming.1, None);
        try_join(there, back).await
    }

    /// Passes on one way; `calls` looks at what the caller sends.
    async fn pump(
        mut self,
        mut from: tokio::net::tcp::OwnedReadHalf,
        mut to: tokio::net::tcp::OwnedWriteHalf,
        mut calls: Option<Recogniser>,
    ) -> std::io::Result<()> {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let bytes = from.read(&mut chunk).await?;
            let (read, _) = chunk.split_at(bytes);
            if let Some(service) = calls.as_mut().and_then(|calls| calls.see(read)) {
                self.service.get_or_init(|| service);
                calls = None;
            }
            self.is_whole().await;
            match read {
                [] => return to.shutdown().await,
                read => to.write_all(read).await?,
            }
        }
    }

    async fn is_whole(&mut self) {
        let (from, to, service) = (self.from, self.to, Arc::clone(&self.service));
        let has = |(end, ports): &(End, BTreeSet<u16>)| end.host == to || ports.contains(&from);
        let is_severed = |cut: &Severed| {
            let is_for = cut.service.is_none() || cut.service.as_ref() == service.get();
            is_for && cut.ends.iter().all(has)
        };
        // Without a network there is nothing left to pass on to.
        let _ended = self
            .cuts
            .wait_for(|cuts| !cuts.iter().any(is_severed))
            .await;
    }
}

/// The local ports of a process's connections; none if it has ended.
fn ports_of(process: u32) -> BTreeSet<u16> {
    let place = Path::new("/proc").join(process.to_string());
    let open = std::fs::read_dir(place.join("fd")).into_iter().flatten();
    let targets = open
        .flatten()
        .filter_map(|file| std::fs::read_link(file.path()).ok());
    let sockets: BTreeSet<String> = targets
        .filter_map(|target| {
            let name = target.to_str()?.strip_prefix("socket:[")?;
            Some(name.strip_suffix(']')?.to_owned())
        })
        .collect();
    let table = std::fs::read_to_string(place.join("net/tcp")).unwrap_or_default();
    let port = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, port) = fields.get(1)?.rsplit_once(':')?;
        sockets.contains(*fields.get(9)?).then_some(())?;
        u16::from_str_radix(port, 16).ok()
    };
    table.lines().skip(1).filter_map(port).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: Ipv4Addr = Ipv4Addr::new(127, 78, 0, 1);

    /// Who listens, and a connection to it by way of the network.
    async fn connected(network: &Network) -> (TcpListener, TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        network.pass_on(ALICE, &to.to_string()).await.unwrap();
        let out = TcpStream::connect((ALICE, to.port())).await.unwrap();
        let (arrived, _) = listener.accept().await.unwrap();
        (listener, out, arrived)
    }

    fn off(host: Ipv4Addr, process: u32) -> Cut {
        Cut {
            ends: vec![End { host, process }],
            service: None,
        }
    }

    async fn passes(from: &mut TcpStream, to: &mut TcpStream) {
        from.write_all(b"a").await.unwrap();
        assert_eq!(to.read_u8().await.unwrap(), b'a');
    }

    #[tokio::test]
    async fn a_cut_holds_up_what_goes_to_and_from_a_member_and_loses_nothing() {
        let network = Network::default();
        let (_listener, mut out, mut arrived) = connected(&network).await;
        passes(&mut out, &mut arrived).await;
        passes(&mut arrived, &mut out).await;
        // This process is at both ends: once it is the one called that is cut off, once the one that calls.
        let other = Ipv4Addr::new(127, 78, 0, 2);
        for (host, process) in [(ALICE, 0), (other, std::process::id())] {
            network.cut([off(host, process)]);
            out.write_all(b"a").await.unwrap();
            let mut byte = [0];
            for _ in 0..1_000 {
                tokio::task::yield_now().await;
                assert!(arrived.try_read(&mut byte).is_err(), "nothing arrives");
            }
            network.cut([]);
            assert_eq!(arrived.read_u8().await.unwrap(), b'a');
        }
        network.cut([off(other, 0)]);
        passes(&mut out, &mut arrived).await;
    }

    #[tokio::test]
    async fn an_end_is_passed_on() {
        let network = Network::default();
        let (_listener, out, mut arrived) = connected(&network).await;
        drop(out);
        assert_eq!(arrived.read(&mut [0]).await.unwrap(), 0);
    }
}
