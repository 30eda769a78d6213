//! Which replica set a node joins, and where the others reach it.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Error, Listen};

/// The replica set that a node is of.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SetOptions {
    /// The peer address of a member, as `host:port`: a directory that is of no set yet joins that member's. A directory
    /// that has joined takes no notice.
    pub join: Option<String>,
    /// The file with the token that lets the directory join.
    pub token_file: Option<PathBuf>,
    /// The host that others are told in place of the addresses the node listens on.
    pub advertise: Option<String>,
    /// Where the node stands, such as a zone of a cloud: clients that name the same zone ask it before others.
    pub zone: Option<String>,
}

impl SetOptions {
    pub(super) fn validate(&self, listen: &Listen) -> Result<(), Error> {
        if let Some(join) = self.join.as_ref().filter(|join| !is_host_and_port(join)) {
            return Err(Error::NoAddress {
                key: "set.join",
                value: join.clone(),
                expected: "the peer address of a member, as host:port",
            });
        }
        if let Some(host) = self.advertise.as_ref().filter(|host| !is_host(host)) {
            return Err(Error::NoAddress {
                key: "set.advertise",
                value: host.clone(),
                expected: "a host name or an address without a port, by which others reach this node",
            });
        }
        match (&self.join, &self.token_file) {
            (Some(_), None) => Err(Error::Incomplete {
                key: "set.join",
                needed: "set.token_file",
                why: "a set takes in only who shows a token of `steadfast rs add`",
            }),
            (None, Some(_)) => Err(Error::Incomplete {
                key: "set.token_file",
                needed: "set.join",
                why: "it must be known which set to join",
            }),
            (Some(_), Some(_)) | (None, None) => self.validate_reach(listen),
        }
    }

    /// Others are never told to go to `0.0.0.0`.
    fn validate_reach(&self, listen: &Listen) -> Result<(), Error> {
        let is_alone = self.join.is_none() && listen.peer.ip().is_loopback();
        let is_open = |address: &SocketAddr| address.ip().is_unspecified();
        if is_alone || self.advertise.is_some() {
            return Ok(());
        }
        let addresses = [
            ("listen.peer", listen.peer),
            ("listen.client", listen.client),
        ];
        let open = addresses.iter().find(|(_, address)| is_open(address));
        open.map_or(Ok(()), |(key, _)| {
            Err(Error::Incomplete {
                key,
                needed: "set.advertise",
                why: "others cannot be told to reach this node at an address that means all of its own",
            })
        })
    }
}

fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        let host = bare(host).unwrap_or(host);
        is_host(host) && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

/// The address within brackets.
fn bare(host: &str) -> Option<&str> {
    host.strip_prefix('[')?.strip_suffix(']')
}

fn is_host(text: &str) -> bool {
    match text.parse::<IpAddr>() {
        Ok(address) => !address.is_unspecified(),
        Err(_) => {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    fn checked(text: &str) -> Result<(), String> {
        let config: Config = toml::from_str(text).unwrap();
        config.validate().map_err(|error| error.to_string())
    }

    #[test]
    fn a_token_and_where_to_show_it_belong_together() {
        checked("[set]\njoin = \"a:7401\"\ntoken_file = \"t\"\n").unwrap();
        let error = checked("[set]\njoin = \"a:7401\"\n").unwrap_err();
        assert!(
            error.starts_with("set.join needs set.token_file"),
            "{error}"
        );
        let error = checked("[set]\ntoken_file = \"t\"\n").unwrap_err();
        assert!(
            error.starts_with("set.token_file needs set.join"),
            "{error}"
        );
    }

    #[test]
    fn a_member_is_named_by_host_and_port() {
        for address in [
            "a:7401",
            "10.0.0.1:1",
            "[::1]:7401",
            "node-1.example.org:65535",
        ] {
            checked(&format!(
                "[set]\njoin = \"{address}\"\ntoken_file = \"t\"\n"
            ))
            .unwrap();
        }
        for address in [
            "",
            "a",
            "a:",
            ":7401",
            "a:0",
            "a:65536",
            "http://a:1",
            "0.0.0.0:1",
            "[::]:1",
        ] {
            let error = checked(&format!(
                "[set]\njoin = \"{address}\"\ntoken_file = \"t\"\n"
            ));
            let error = error.unwrap_err();
            assert!(error.starts_with("set.join = "), "{address}: {error}");
        }
    }

    #[test]
    fn others_are_told_a_host_without_a_port() {
        for host in ["a", "10.0.0.1", "::1", "node-1.example.org"] {
            checked(&format!("[set]\nadvertise = \"{host}\"\n")).unwrap();
        }
        for host in ["", "a:7401", "0.0.0.0", "::", "a b"] {
            let error = checked(&format!("[set]\nadvertise = \"{host}\"\n")).unwrap_err();
            assert!(error.starts_with("set.advertise = "), "{host}: {error}");
        }
    }

    #[test]
    fn nobody_is_told_to_go_to_all_addresses() {
        let open = "insecure = true\n[listen]\npeer = \"0.0.0.0:7401\"\n";
        let error = checked(open).unwrap_err();
        assert!(
            error.starts_with("listen.peer needs set.advertise"),
            "{error}"
        );
        checked(&format!("{open}[set]\nadvertise = \"a\"\n")).unwrap();
        // Of a node that stays alone nobody is told.
        checked("insecure = true\n[listen]\nclient = \"0.0.0.0:7400\"\n").unwrap();
    }
}
