//! `steadfast inspect`: what a data directory holds, while no node uses it; and what a restore point does.
//!
//! **Invariants.** Nothing in the directory is changed and no file is created there: files are opened for reading only.
//! While it is looked at no node can start on it; one that runs on it already is an error.

mod chains;
mod directory;
mod manifest;
mod store;
mod verify;
mod wal;

use std::path::PathBuf;

use clap::Subcommand;

use super::error::CliError;
use super::output::Output;

const EXAMPLES: &str = "\
Examples:
  steadfast inspect wal data --limit 20
  steadfast inspect wal data --from 100 --to 200 --output json
  steadfast inspect store data
  steadfast inspect store data --view aircraft_stats --key tailnum=N14228
  steadfast inspect verify data
  steadfast inspect manifest file:///mnt/backups/20261122T041203.123Z-1f2e3d4c

A directory that a running node uses is refused: stop the node, or inspect a copy made while it was stopped. A \
directory that cannot be written to will do.";

const VERIFY: &str = "\
Checked are the identity and control files; every frame of the WAL, sealed segments included; that each record decodes \
and follows the one before it in its log; that the WAL reaches back to what the store has applied and forward to what \
it knows to be durable; the checksums of the store's blocks; that every row, request, definition and the state decode; \
and that the rows add up to the digest and the counts of the state.

Each finding names the file, the offset where there is one, and what was expected. Of a damaged store file the first \
bad block is named, and what lies behind it is not checked. Notes are no damage: a torn tail, which the next start \
cuts.

Not checked, because nothing depends on them: reserved space behind the last frame of a segment, the WAL's last mark, \
filters, statistics and unused space in the store's files, its LOG, LOCK and OPTIONS files, and the lock file. A \
MANIFEST of the store whose end is damaged or lost reads as a sound one of an earlier state, which the WAL completes: \
store files made since then are noted, and it is a finding if the WAL does not reach back that far.

Exit codes: 0 without findings, 1 with findings, 2 if the directory cannot be looked at.";

/// Look at the files of a data directory that no node uses, or of a backup
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print segments and records of the WAL; as JSON, one object per line
    Wal(wal::Args),
    /// Print the store's state and views, or rows of one view
    Store(store::Args),
    /// Print the manifest of a restore point
    Manifest(manifest::Args),
    /// Check every checksum, digest and count
    #[command(after_help = VERIFY)]
    Verify {
        /// The data directory.
        dir: PathBuf,
        /// How to print the result.
        #[arg(long, value_name = "FORMAT", default_value = "table")]
        output: Output,
    },
}

/// Looks at a directory, or at a manifest.
///
/// # Errors
/// If a node uses it, or it cannot be read; for `verify`, if there are findings.
pub async fn run(args: Args) -> Result<(), CliError> {
    match args.command {
        Command::Wal(args) => wal::run(&args),
        Command::Store(args) => store::run(&args),
        Command::Manifest(args) => manifest::run(&args).await,
        Command::Verify { dir, output } => verify::run(&dir, output),
    }
}
