//! The command tree.
//!
//! **Invariants.** Results go to standard output; everything else goes to standard error. A command that fails writes
//! one line that begins with the reason's name and exits with 2 for wrong usage or input, 3 for unavailable, 4 for an
//! unknown outcome, 5 for what the set refuses, 1 for the rest. Nothing is decided here that a server could decide: the
//! commands translate.
//!
//! What starts and hurts sets of child processes is public for the tests that do it, too.

mod backup;
mod bench;
mod check;
pub mod child;
mod connection;
mod delete;
mod demo;
mod error;
mod export;
mod forget;
mod get;
mod import;
mod inspect;
mod keys;
mod load;
pub mod network;
mod output;
pub mod process_set;
mod progress;
mod put;
mod rows;
mod rs;
mod scan;
mod serve;
mod session;
mod set_views;
mod signals;
mod status;
mod view;

use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

pub use error::{CliError, Exit};

/// How long work on other threads may still take when a command is done.
const LAST_WORK: Duration = Duration::from_secs(1);

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed
  2  wrong usage or input
  3  no node is available; nothing was done
  4  the outcome of a write is unknown; repeat it with the same --request-id
  5  the set, as it is now, refuses to be changed so; nothing was done

An error is one line on standard error that begins with the reason's name, such as UNKNOWN_VIEW.";

/// A replicated, highly available online feature store.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Args),
    View(view::Args),
    Get(get::Args),
    Put(put::Args),
    Delete(delete::Args),
    Forget(forget::Args),
    Scan(scan::Args),
    Import(import::Args),
    Export(export::Args),
    Inspect(inspect::Args),
    Status(status::Args),
    Rs(rs::Args),
    Check(check::Args),
    Backup(backup::Args),
    Demo(demo::Args),
    Bench(bench::Args),
}

/// Runs the command that the process's arguments name.
#[must_use]
pub fn main() -> ExitCode {
    let outcome = match Cli::try_parse() {
        Ok(cli) => run(cli.command),
        Err(error) => explain(&error),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if error.exit() != Exit::ReaderGone {
                eprintln!("{error}");
            }
            error.exit().into()
        }
    }
}

fn run(command: Command) -> Result<(), CliError> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| {
        CliError::failed("NO_RUNTIME", format!("cannot start threads: {error}"))
    })?;
    let outcome = runtime.block_on(async {
        match command {
            Command::Serve(args) => Box::pin(serve::run(args)).await,
            Command::View(args) => view::run(args).await,
            Command::Get(args) => get::run(args).await,
            Command::Put(args) => put::run(args).await,
            Command::Delete(args) => delete::run(args).await,
            Command::Forget(args) => forget::run(args).await,
            Command::Scan(args) => scan::run(args).await,
            Command::Import(args) => Box::pin(import::run(args)).await,
            Command::Export(args) => export::run(args).await,
            Command::Inspect(args) => inspect::run(args).await,
            Command::Status(args) => status::run(args).await,
            Command::Rs(args) => rs::run(args).await,
            Command::Check(args) => check::run(args).await,
            Command::Backup(args) => Box::pin(backup::run(args)).await,
            Command::Demo(args) => Box::pin(demo::run(args)).await,
            Command::Bench(args) => Box::pin(bench::run(args)).await,
        }
    });
    // A command that is done does not wait for a disk that does not answer.
    runtime.shutdown_timeout(LAST_WORK);
    outcome
}

/// Help and version are results; everything else is wrong usage, told in one line.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "whatever else there is, it is wrong usage"
)]
fn explain(error: &clap::Error) -> Result<(), CliError> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            output::print(&error.render().to_string())
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            let names = Cli::command()
                .get_subcommands()
                .map(|command| command.get_name().to_owned())
                .collect::<Vec<_>>();
            Err(CliError::usage(format!(
                "a command is missing: one of {}, or --help",
                names.join(", ")
            )))
        }
        _ => Err(CliError::usage(in_one_line(&error.render().to_string()))),
    }
}

/// What clap says in paragraphs, up to the usage.
fn in_one_line(text: &str) -> String {
    let body = text.split("\nUsage:").next().unwrap_or(text);
    let body = body.split("\nFor more information").next().unwrap_or(body);
    let body = body.trim_start_matches("error: ").trim();
    body.split("\n\n").collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_tree_is_consistent() {
        Cli::command().debug_assert();
    }

    fn refused(arguments: &[&str]) -> String {
        let error = Cli::try_parse_from(arguments).unwrap_err();
        explain(&error).unwrap_err().to_string()
    }

    #[test]
    fn wrong_usage_is_one_line_that_says_so() {
        assert_eq!(
            refused(&["steadfast", "get", "v", "--key", "a=1", "--featur", "f"]),
            "USAGE: unexpected argument '--featur' found; tip: a similar argument exists: '--feature'"
        );
        let message = refused(&["steadfast"]);
        assert!(
            message.starts_with("USAGE: a command is missing: one of serve, view"),
            "{message}"
        );
        let message = refused(&["steadfast", "get", "v", "--key", "a=1", "--level", "soon"]);
        assert!(
            message.contains("expected local, bounded:DURATION"),
            "{message}"
        );
    }
}
