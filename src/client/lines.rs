//! The nodes that a client may ask, and asking one after the other.

use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

use super::error::{Effect, Error};
use super::retry::Attempts;
use crate::base::clock::{now_monotonic, sleep};

/// How long connecting to one endpoint may take, so that the next one gets its turn.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// Lines to nodes, each made when it is needed.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    endpoints: Arc<[String]>,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug)]
struct Known {
    /// The node that answered last.
    current: String,
    channels: HashMap<String, Channel>,
}

impl Lines {
    /// Connects to the first of `endpoints` (`host:port`) that can be reached, in the order given.
    ///
    /// # Errors
    /// If none can; names each.
    pub async fn connect<S: AsRef<str>>(endpoints: &[S]) -> Result<Lines, Error> {
        let mut failures = Vec::new();
        for current in endpoints.iter().map(AsRef::as_ref) {
            match connect(current).await {
                Ok(channel) => {
                    let endpoints = endpoints
                        .iter()
                        .map(|endpoint| endpoint.as_ref().to_owned());
                    let known = Known {
                        current: current.to_owned(),
                        channels: HashMap::from([(current.to_owned(), channel)]),
                    };
                    return Ok(Lines {
                        endpoints: endpoints.collect(),
                        known: Arc::new(Mutex::new(known)),
                    });
                }
                Err(cause) => failures.push(format!("{current}: {cause}")),
            }
        }
        let tried = if failures.is_empty() {
            "no endpoint was given".to_owned()
        } else {
            failures.join("; ")
        };
        Err(Error::unavailable(format!("no node answers ({tried})")))
    }

    /// The same lines, and those to these nodes, of which the one that answered last has told. They are asked after the others.
    pub fn and(&self, more: impl IntoIterator<Item = String>) -> Lines {
        let told_by = self.lock().current.clone();
        let mut endpoints = self.endpoints.to_vec();
        for endpoint in more {
            if leads_there(&endpoint, &told_by) && !endpoints.contains(&endpoint) {
                endpoints.push(endpoint);
            }
        }
        Lines {
            endpoints: endpoints.into(),
            known: Arc::clone(&self.known),
        }
    }

    /// Are there several nodes to ask?
    pub fn are_several(&self) -> bool {
        self.endpoints.len() > 1
    }

    /// The line to the node that answered last.
    ///
    /// # Errors
    /// If its address is none.
    pub fn current(&self) -> Result<Channel, Error> {
        let current = self.lock().current.clone();
        self.channel(&current)
    }

    /// Asks the node that answered last, then others as long as that makes sense.
    ///
    /// # Errors
    /// What the call came to in the end.
    pub async fn ask<M, T, F>(
        &self,
        message: M,
        effect: Effect,
        deadline: Duration,
        ask: impl Fn(Channel, Request<M>) -> F,
    ) -> Result<T, Error>
    where
        M: Clone,
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let begun = now_monotonic();
        let current = self.lock().current.clone();
        let is_harmless = effect != Effect::Writes;
        let (mut attempts, mut attempt) =
            Attempts::begin(&self.endpoints, current, is_harmless, deadline);
        loop {
            sleep(attempt.wait).await;
            let mut failure = match self.channel(&attempt.endpoint) {
                Err(malformed) => malformed,
                Ok(channel) => {
                    let mut request = Request::new(message.clone());
                    request.set_timeout(attempt.limit);
                    match ask(channel, request).await {
                        Ok(answer) => {
                            self.lock().current = attempt.endpoint;
                            return Ok(answer.into_inner());
                        }
                        Err(status) => Error::from_status(&status, effect),
                    }
                }
            };
            let named = failure.primary.take();
            failure.primary = named.filter(|named| leads_there(named, &attempt.endpoint));
            let chance = rand::random::<f64>();
            attempt = attempts.after(&attempt.endpoint, failure, begun.elapsed(), chance)?;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The line to a node, connected when it is used.
    fn channel(&self, address: &str) -> Result<Channel, Error> {
        let mut known = self.lock();
        if let Some(channel) = known.channels.get(address) {
            return Ok(channel.clone());
        }
        let endpoint = endpoint(address);
        let endpoint =
            endpoint.map_err(|cause| Error::unavailable(format!("{address}: {cause}")))?;
        let channel = endpoint.connect_lazy();
        known.channels.insert(address.to_owned(), channel.clone());
        Ok(channel)
    }
}

/// Does an address that a node told lead from here to where it does from there? One that is meant for the node's own machine
/// leads to whatever runs on this one.
fn leads_there(address: &str, told_by: &str) -> bool {
    let is_own = |address: &str| match address.rsplit_once(':') {
        Some(("localhost", _)) => true,
        Some((host, _)) => {
            let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
            ip.is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified())
        }
        None => false,
    };
    !address.is_empty() && (!is_own(address) || is_own(told_by))
}

fn endpoint(address: &str) -> Result<Endpoint, String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"));
    let endpoint = endpoint.map_err(|_| "not of the form host:port".to_owned())?;
    Ok(endpoint.connect_timeout(CONNECT_LIMIT).tcp_nodelay(true))
}

async fn connect(address: &str) -> Result<Channel, String> {
    let connected = endpoint(address)?.connect().await;
    connected.map_err(|error| innermost(&error))
}

fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |cause| cause.source());
    chain.last().unwrap_or(error).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Kind;

    #[test]
    fn addresses_for_a_nodes_own_machine_lead_nowhere_from_another() {
        for (address, told_by, leads) in [
            ("b:7400", "a:7400", true),
            ("10.0.0.2:7400", "a:7400", true),
            ("127.0.0.1:7400", "a:7400", false),
            ("0.0.0.0:7400", "10.0.0.1:7400", false),
            ("[::]:7400", "a:7400", false),
            ("localhost:7400", "a:7400", false),
            ("127.0.0.1:7401", "localhost:7400", true),
            ("[::1]:7401", "127.0.0.1:7400", true),
            ("", "a:7400", false),
        ] {
            assert_eq!(
                leads_there(address, told_by),
                leads,
                "{address} by {told_by}"
            );
        }
    }

    #[tokio::test]
    async fn each_node_is_asked_once_in_turn_however_often_it_is_named() {
        let known = Known {
            current: "a:1".to_owned(),
            channels: HashMap::new(),
        };
        let lines = Lines {
            endpoints: vec!["a:1".to_owned(), "b:1".to_owned()].into(),
            known: Arc::new(Mutex::new(known)),
        };
        let more = ["b:1", "", "c:1", "c:1"].map(str::to_owned);
        assert_eq!(*lines.and(more).endpoints, ["a:1", "b:1", "c:1"]);
    }

    #[tokio::test]
    async fn every_endpoint_that_cannot_be_reached_is_named() {
        let error = Lines::connect(&["127.0.0.1:1", "no port"])
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind, error.reason.as_str()),
            (Kind::Unavailable, "UNAVAILABLE")
        );
        assert!(error.message.contains("127.0.0.1:1: "), "{error}");
        assert!(
            error.message.contains("no port: not of the form host:port"),
            "{error}"
        );
    }
}
