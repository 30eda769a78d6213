//! `steadfast backup`

mod verify_store;

use clap::Subcommand;

use super::error::CliError;

const EXAMPLES: &str = "\
Where backups are kept:
  s3://BUCKET/PREFIX    a bucket of an S3-style store; ?region=…&endpoint=…&path_style=true|false may follow
  file:///DIRECTORY     a directory, such as one of another machine

Credentials never stand in the URL. They are taken, as the tools of AWS do, from AWS_ACCESS_KEY_ID, \
AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN; from a web identity; from the profile AWS_PROFILE in ~/.aws/credentials \
and ~/.aws/config; from the container; or from the role of the machine. AWS_REGION and AWS_ENDPOINT_URL_S3 stand for \
what the URL does not say.

Examples:
  steadfast backup verify-store s3://backups/prod?region=eu-central-1
  steadfast backup verify-store 's3://backups?endpoint=http://127.0.0.1:9000'
  steadfast backup verify-store file:///mnt/backups";

/// Keep backups in a bucket
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    VerifyStore(verify_store::Args),
}

/// Runs one of the commands about backups.
///
/// # Errors
/// As the command says.
pub async fn run(args: Args) -> Result<(), CliError> {
    match args.command {
        Command::VerifyStore(args) => verify_store::run(args).await,
    }
}
