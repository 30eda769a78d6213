//! `steadfast status`

use serde_json::Value as Json;

use super::connection::Connection;
use super::error::CliError;
use super::output::{Output, plain, print, print_json, table};
use crate::client::Error;

const EXAMPLES: &str = "\
Examples:
  steadfast status
  steadfast status --endpoint node1:7400,node2:7400 --output json";

/// Print what a node is and how it does
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    connection: Connection,
}

/// Prints the node's status document.
///
/// # Errors
/// If the call fails.
pub async fn run(args: Args) -> Result<(), CliError> {
    let client = args.connection.client().await?;
    let text = client.status().await?;
    let status: Json = serde_json::from_str(&text).map_err(Error::bad_answer)?;
    match args.connection.output {
        Output::Json => print_json(&status),
        Output::Table => {
            let mut out = table(["status", ""]);
            for (path, value) in flatten(&status) {
                out.add_row([path, value]);
            }
            print(&out.to_string())
        }
    }
}

/// Objects within objects as `outer.inner`, in their order.
fn flatten(json: &Json) -> Vec<(String, String)> {
    let Json::Object(object) = json else {
        return vec![(String::new(), plain(json))];
    };
    let mut out = Vec::new();
    for (name, value) in object {
        for (path, value) in flatten(value) {
            let dot = if path.is_empty() { "" } else { "." };
            out.push((format!("{name}{dot}{path}"), value));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_within_objects_become_paths() {
        let json = serde_json::json!({ "node": "a", "wal": { "durable": 7, "views": [1] } });
        let expected = [("node", "a"), ("wal.durable", "7"), ("wal.views", "[1]")];
        let expected = expected.map(|(path, value)| (path.to_owned(), value.to_owned()));
        assert_eq!(flatten(&json), expected);
    }
}
