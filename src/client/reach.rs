//! How a node is reached at an address.

use std::net::IpAddr;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

/// How long connecting to one endpoint may take, so that the next one gets its turn.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// A connection on which nothing comes is tested so often, and given up if no answer comes for so long: a node that was cut
/// off sends no word of it.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
const KEEP_ALIVE_LIMIT: Duration = Duration::from_secs(3);

/// Does an address that a node told lead from here to where it does from there? One that is meant for the node's own machine
/// leads to whatever runs on this one.
pub(super) fn leads_there(address: &str, told_by: &str) -> bool {
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

/// How a node is connected to.
pub(super) fn endpoint(address: &str) -> Result<Endpoint, String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"));
    let endpoint = endpoint.map_err(|_| "not of the form host:port".to_owned())?;
    Ok(endpoint
        .connect_timeout(CONNECT_LIMIT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_LIMIT)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true))
}

/// A line to a node.
pub(super) async fn connect(address: &str) -> Result<Channel, String> {
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
}
