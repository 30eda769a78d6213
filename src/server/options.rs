//! Where to listen.

use std::net::{Ipv4Addr, SocketAddr};

use serde::Deserialize;

/// Where to listen, and whether other machines may be let in.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// gRPC for clients. Port 0 takes any that is free, here and below.
    pub client: SocketAddr,
    /// gRPC for other nodes.
    pub peer: SocketAddr,
    /// Health, metrics and status.
    pub http: SocketAddr,
    /// Connections are not encrypted and nobody is asked who they are, so beyond loopback this must be asked for.
    pub insecure: bool,
}

impl Default for Options {
    fn default() -> Self {
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Options {
            client: loopback(7400),
            peer: loopback(7401),
            http: loopback(7480),
            insecure: false,
        }
    }
}
