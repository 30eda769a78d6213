//! What every command that talks to a node takes.

use super::error::CliError;
use super::output::Output;
use crate::client::Client;

/// Where to connect, and how to print.
#[derive(Debug, Clone, clap::Args)]
pub struct Connection {
    /// Members of one set, one at least: the first that answers is asked, and another member, named here or by it, if that
    /// cannot answer. Writes are then repeated under one request id.
    #[arg(
        long,
        env = "STEADFAST_ENDPOINT",
        value_name = "HOST:PORT,…",
        value_delimiter = ',',
        default_value = "127.0.0.1:7400"
    )]
    endpoint: Vec<String>,
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
        Ok(Client::discover(&self.endpoint).await?)
    }

    /// The nodes to connect to.
    #[must_use]
    pub fn endpoints(&self) -> &[String] {
        &self.endpoint
    }
}
