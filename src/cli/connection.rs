//! What every command that talks to a node takes.

use super::error::CliError;
use super::output::Output;
use crate::client::{Client, Target};

/// Where to connect, and how to print.
#[derive(Debug, Clone, clap::Args)]
pub struct Connection {
    /// Members of one set, one at least: the first that answers is asked, and another member, named here or by it, if that
    /// cannot answer. Writes are then repeated under one request id. Or as steadfast://HOST:PORT,…/?deadline=2s with level=,
    /// w=, zone=, deadline= or on_unavailable=local for what is not said otherwise.
    #[arg(
        long,
        env = "STEADFAST_ENDPOINT",
        value_name = "HOST:PORT,…",
        default_value = "127.0.0.1:7400"
    )]
    endpoint: Target,
    /// How to print the result.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub output: Output,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// If no node answers.
    pub async fn client(&self) -> Result<Client, CliError> {
        Ok(Client::connect(self.endpoint.clone()).await?)
    }

    /// The nodes to connect to.
    #[must_use]
    pub fn endpoints(&self) -> &[String] {
        &self.endpoint.endpoints
    }
}
