//! Pure: where a client connects, and how its calls ask unless they say otherwise, as one text.
//!
//! ```text
//!  steadfast://node1:7400,node2,node3/?level=bounded:500ms&w=async&zone=a&deadline=200ms&on_unavailable=local
//!  node1:7400,node2:7400
//! ```

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::base::{CommitLevel, ReadLevel};

const SCHEME: &str = "steadfast://";
/// Where nodes listen by default.
const PORT: &str = "7400";
/// How long a call may take.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);

/// Members of one set, one at least, and what calls ask for that do not say it themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// As `host:port`, in the order in which they are tried.
    pub endpoints: Vec<String>,
    /// How its calls ask.
    pub options: Options,
}

/// What calls ask for that do not say it themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The level of lookups and scans, `level=`; that of the view or the set if there is none.
    pub level: Option<ReadLevel>,
    /// The level of writes, `w=`; that of the set if there is none.
    pub commit: Option<CommitLevel>,
    /// Nodes of this zone are asked before all others, `zone=`.
    pub zone: Option<String>,
    /// How long a call may take, all attempts together, `deadline=`; more than zero.
    pub deadline: Duration,
    /// Lookups that cannot be answered at their level are answered at level local, `on_unavailable=local`.
    pub or_local: bool,
}

/// A text that names no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTarget {
    /// There is nothing to connect to.
    #[error("no node is named: expected HOST:PORT,… or steadfast://HOST:PORT,…/?level=…")]
    NoNode,
    /// Not of the form `host:port`.
    #[error("{0:?} is not of the form HOST or HOST:PORT")]
    Node(String),
    /// Not of the form `name=value`, or an unknown name.
    #[error("{0:?} is not an option: expected level=, w=, zone=, deadline= or on_unavailable=")]
    Option(String),
    /// An option's value makes no sense.
    #[error("{name}={value:?}: {problem}")]
    Value {
        /// The option.
        name: &'static str,
        /// What was given.
        value: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl Default for Options {
    fn default() -> Options {
        Options {
            level: None,
            commit: None,
            zone: None,
            deadline: DEADLINE,
            or_local: false,
        }
    }
}

impl FromStr for Target {
    type Err = BadTarget;

    fn from_str(text: &str) -> Result<Target, BadTarget> {
        let text = text.trim();
        let (nodes, options) = match text.strip_prefix(SCHEME) {
            Some(rest) => match rest.split_once('?') {
                Some((nodes, options)) => (nodes, options),
                None => (rest, ""),
            },
            None => (text, ""),
        };
        let nodes = nodes.strip_suffix('/').unwrap_or(nodes);
        let named = nodes
            .split(',')
            .map(str::trim)
            .filter(|node| !node.is_empty());
        let endpoints = named.map(endpoint).collect::<Result<Vec<_>, _>>()?;
        if endpoints.is_empty() {
            return Err(BadTarget::NoNode);
        }
        let mut given = options.split('&').filter(|option| !option.is_empty());
        Ok(Target {
            endpoints,
            options: given.try_fold(Options::default(), Options::with)?,
        })
    }
}

impl TryFrom<&str> for Target {
    type Error = BadTarget;

    fn try_from(text: &str) -> Result<Target, BadTarget> {
        text.parse()
    }
}

impl From<std::convert::Infallible> for BadTarget {
    fn from(never: std::convert::Infallible) -> BadTarget {
        match never {}
    }
}

/// With the default port if it has none.
fn endpoint(node: &str) -> Result<String, BadTarget> {
    let bad = || BadTarget::Node(node.chars().take(80).collect());
    let (host, port) = match node.rsplit_once(':') {
        // The colons of a bare address of version 6 are no port's.
        Some((host, port)) if !port.ends_with(']') => (host, port),
        Some(_) | None => (node, PORT),
    };
    let is_bare_v6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
    let is_host = !host.is_empty() && !host.contains(['/', '?', '@', ' ']) && !is_bare_v6;
    match port.parse::<u16>() {
        Ok(port) if is_host && port > 0 => Ok(format!("{host}:{port}")),
        Ok(_) | Err(_) => Err(bad()),
    }
}

impl Options {
    fn with(mut self, option: &str) -> Result<Options, BadTarget> {
        let unknown = || BadTarget::Option(option.chars().take(80).collect());
        let (name, value) = option.split_once('=').ok_or_else(unknown)?;
        match name {
            "level" => self.level = Some(parsed("level", value)?),
            "w" => self.commit = Some(parsed("w", value)?),
            "zone" => self.zone = Some(value.to_owned()),
            "deadline" => self.deadline = deadline(value)?,
            "on_unavailable" => {
                self.or_local = match value {
                    "local" => true,
                    "fail" => false,
                    _ => return Err(wrong("on_unavailable", value, "expected fail or local")),
                }
            }
            _ => return Err(unknown()),
        }
        Ok(self)
    }
}

fn deadline(value: &str) -> Result<Duration, BadTarget> {
    match humantime::parse_duration(value) {
        Ok(span) if span.is_zero() => Err(wrong("deadline", value, "it is over at once")),
        Ok(span) => Ok(span),
        Err(problem) => Err(wrong("deadline", value, problem)),
    }
}

fn parsed<T: FromStr<Err: fmt::Display>>(name: &'static str, value: &str) -> Result<T, BadTarget> {
    value.parse().map_err(|problem| wrong(name, value, problem))
}

fn wrong(name: &'static str, value: &str, problem: impl ToString) -> BadTarget {
    BadTarget::Value {
        name,
        value: value.chars().take(80).collect(),
        problem: problem.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(text: &str) -> Vec<String> {
        text.parse::<Target>().unwrap().endpoints
    }

    #[test]
    fn nodes_are_named_with_or_without_ports_and_scheme() {
        for text in [
            "a:7400,b:7400",
            "steadfast://a,b",
            "steadfast://a:7400,b/",
            "steadfast://a, b:7400/?level=local",
        ] {
            assert_eq!(endpoints(text), ["a:7400", "b:7400"], "{text}");
        }
        assert_eq!(endpoints("[::1],[::2]:9"), ["[::1]:7400", "[::2]:9"]);
    }

    #[test]
    fn options_say_how_calls_ask() {
        let text =
            "steadfast://a/?level=bounded:500ms&w=async&zone=z&deadline=2s&on_unavailable=local";
        let options = text.parse::<Target>().unwrap().options;
        let expected = Options {
            level: Some(ReadLevel::Bounded(Duration::from_millis(500))),
            commit: Some(CommitLevel::Async),
            zone: Some("z".to_owned()),
            deadline: Duration::from_secs(2),
            or_local: true,
        };
        assert_eq!(options, expected);
        let plain = "a".parse::<Target>().unwrap().options;
        assert_eq!(plain, Options::default());
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (text, named) in [
            ("", "no node"),
            ("steadfast:///?level=local", "no node"),
            ("http://a:1", "\"http://a:1\""),
            ("a:0", "\"a:0\""),
            ("a:70000", "\"a:70000\""),
            ("::1", "\"::1\""),
            ("steadfast://a/?levle=local", "\"levle=local\""),
            ("steadfast://a/?level", "\"level\""),
            ("steadfast://a/?level=best", "level=\"best\": "),
            ("steadfast://a/?w=most", "w=\"most\": "),
            ("steadfast://a/?deadline=0s", "over at once"),
            ("steadfast://a/?deadline=soon", "deadline=\"soon\": "),
            ("steadfast://a/?on_unavailable=wait", "fail or local"),
        ] {
            let said = text.parse::<Target>().unwrap_err().to_string();
            assert!(said.contains(named), "{text}: {said}");
        }
    }
}
