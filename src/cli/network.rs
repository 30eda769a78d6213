//! The network between the processes of a set, which can be cut without being root.
//!
//! Each member is told to the others by a loopback address of its own, at which a proxy passes on what comes. A cut holds
//! everything up and ends nothing, as a network does that loses packets: to the member that is cut off, and from it, which
//! is known by the sockets of its process.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use futures::StreamExt as _;
use futures::future::try_join;
use futures::stream::FuturesUnordered;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::error::CliError;
use crate::base::TaskGroup;

const CHUNK_BYTES: usize = 64 << 10;

/// Proxies in front of members. They end with it.
#[derive(Debug)]
pub struct Network {
    tasks: TaskGroup,
    cut: watch::Sender<Option<Cut>>,
}

/// Who is cut off.
#[derive(Debug)]
struct Cut {
    host: Ipv4Addr,
    process: u32,
    /// The ports from which it has connected to others.
    ports: BTreeSet<u16>,
}

/// A connection from one member to another.
#[derive(Debug, Clone)]
struct Link {
    from: u16,
    to: Ipv4Addr,
    cut: watch::Receiver<Option<Cut>>,
}

impl Network {
    /// A network without members.
    #[must_use]
    pub fn new() -> Network {
        Network {
            tasks: TaskGroup::new(),
            cut: watch::Sender::new(None),
        }
    }

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
        let cut = self.cut.clone();
        self.tasks
            .spawn_finite("proxy", accept(listener, host, to, cut));
        Ok(())
    }

    /// Cuts the member off that is told to others by `host`, and is this process.
    pub fn cut_off(&self, host: Ipv4Addr, process: u32) {
        self.cut.send_replace(Some(Cut {
            host,
            process,
            ports: ports_of(process),
        }));
    }

    /// Lets everything pass again.
    pub fn heal(&self) {
        self.cut.send_replace(None);
    }
}

async fn accept(
    listener: TcpListener,
    host: Ipv4Addr,
    to: SocketAddr,
    cut: watch::Sender<Option<Cut>>,
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
        cut.send_if_modified(|cut| {
            if let Some(cut) = cut {
                cut.ports = ports_of(cut.process);
            }
            false
        });
        let link = Link {
            from: from.port(),
            to: host,
            cut: cut.subscribe(),
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
        let there = self.clone().pump(incoming.0, outgoing.1);
        let back = self.pump(outgoing.0, incoming.1);
        try_join(there, back).await
    }

    async fn pump(
        mut self,
        mut from: tokio::net::tcp::OwnedReadHalf,
        mut to: tokio::net::tcp::OwnedWriteHalf,
    ) -> std::io::Result<()> {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let bytes = from.read(&mut chunk).await?;
            self.is_whole().await;
            match chunk.get(..bytes) {
                None | Some([]) => return to.shutdown().await,
                Some(read) => to.write_all(read).await?,
            }
        }
    }

    async fn is_whole(&mut self) {
        let (from, to) = (self.from, self.to);
        let is_cut = |cut: &Cut| cut.host == to || cut.ports.contains(&from);
        // Without a network there is nothing left to pass on to.
        let _ended = self
            .cut
            .wait_for(|cut| !cut.as_ref().is_some_and(is_cut))
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

    async fn passes(from: &mut TcpStream, to: &mut TcpStream) {
        from.write_all(b"a").await.unwrap();
        assert_eq!(to.read_u8().await.unwrap(), b'a');
    }

    #[tokio::test]
    async fn a_cut_holds_up_what_goes_to_and_from_a_member_and_loses_nothing() {
        let network = Network::new();
        let (_listener, mut out, mut arrived) = connected(&network).await;
        passes(&mut out, &mut arrived).await;
        passes(&mut arrived, &mut out).await;
        // This process is at both ends: once it is the one called that is cut off, once the one that calls.
        let other = Ipv4Addr::new(127, 78, 0, 2);
        for (host, process) in [(ALICE, 0), (other, std::process::id())] {
            network.cut_off(host, process);
            out.write_all(b"a").await.unwrap();
            let mut byte = [0];
            for _ in 0..1_000 {
                tokio::task::yield_now().await;
                assert!(arrived.try_read(&mut byte).is_err(), "nothing arrives");
            }
            network.heal();
            assert_eq!(arrived.read_u8().await.unwrap(), b'a');
        }
        network.cut_off(other, 0);
        passes(&mut out, &mut arrived).await;
    }

    #[tokio::test]
    async fn an_end_is_passed_on() {
        let network = Network::new();
        let (_listener, out, mut arrived) = connected(&network).await;
        drop(out);
        assert_eq!(arrived.read(&mut [0]).await.unwrap(), 0);
    }
}
