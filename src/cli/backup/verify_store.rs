//! `steadfast backup verify-store`

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::super::error::CliError;
use super::super::output::{Output, print, print_json, readable, table};
use super::super::progress::{Position, Progress};
use crate::backup::bucket::{Bucket, BucketUrl, Environment, Patience};
use crate::backup::trial::{Check, Finding, Left, Trial};

/// A person waits: some seconds of trying again are enough.
const ATTEMPTS: u32 = 5;

const DETAILS: &str = "\
Everything that backups rely on is done once below a new prefix, verify-store-…, and removed again; nothing else in the \
bucket is read or changed. Some 26 MB are sent and as many read, with --long-listing 1,100 small objects more. A \
directory that is missing is made.

Of each check it says whether it works; is silently ignored, so that the store says it did what it did not; is refused; \
or failed. Objects that are there must not be replaced by mistake, so creating one is tried in three ways: where there \
is one already, by 32 at the same moment, of whom exactly one must succeed, and in parts. Stores that look whether an \
object is there, and then write, do not pass the second.

Exit codes:
  0  backups can be kept there; what does not work but is not needed is a warning
  1  backups cannot be kept there, or what was made is there still
  2  the URL, or what the environment says, cannot be used";

/// Find out whether backups can be kept in a bucket
#[derive(Debug, clap::Args)]
#[command(after_help = DETAILS)]
pub struct Args {
    /// The bucket: s3://BUCKET/PREFIX or file:///DIRECTORY.
    url: String,
    /// Also list more objects than a store names in one answer.
    #[arg(long)]
    long_listing: bool,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// What came of a trial.
struct Report {
    url: BucketUrl,
    findings: Vec<Finding>,
    left: Vec<Left>,
    took: Duration,
}

/// Tries a bucket and prints what was found.
///
/// # Errors
/// `BAD_URL` and `BAD_BUCKET` if it cannot be used; `BUCKET_UNFIT` if backups cannot be kept there; `NOT_REMOVED` if something is left.
pub async fn run(args: Args) -> Result<(), CliError> {
    let url = super::parse_url(&args.url)?;
    let patience = Patience {
        attempts: ATTEMPTS,
        ..Patience::default()
    };
    let bucket = Bucket::create(&url, &Environment::of_process(), patience)
        .map_err(|error| CliError::wrong("BAD_BUCKET", error.to_string()))?;
    let checks = Check::ALL.into_iter();
    let checks = checks.filter(|check| args.long_listing || *check != Check::LongListing);
    let report = try_out(url, bucket, checks.collect()).await?;
    match args.output {
        Output::Json => print_json(&report.to_json())?,
        Output::Table => print(&report.to_text())?,
    }
    report.verdict()
}

/// Tries a bucket; removes what was made when it is interrupted, too.
async fn try_out(url: BucketUrl, bucket: Bucket, checks: Vec<Check>) -> Result<Report, CliError> {
    let position = Position::of(u64::try_from(checks.len()).ok());
    let mut progress = Progress::new(url.to_string(), position.clone());
    let mut trial = Trial::new(bucket);
    let mut findings = Vec::new();
    let all = async {
        for check in checks {
            progress.step(check.name());
            findings.push(trial.run(check).await);
            position.advance(1);
        }
        progress.step("removing what was made");
    };
    let is_whole = tokio::select! {
        // Listened for before anything is made.
        biased;
        _interrupted = tokio::signal::ctrl_c() => false,
        () = all => true,
    };
    let left = trial.clean_up().await;
    progress.finish();
    let took = progress.elapsed();
    let report = Report {
        url,
        findings,
        left,
        took,
    };
    if is_whole {
        return Ok(report);
    }
    let interrupted = CliError::failed("INTERRUPTED", "not everything was tried");
    Err(match report.not_removed() {
        Some(left) => interrupted.with(&left),
        None => interrupted,
    })
}

impl Report {
    fn verdict(&self) -> Result<(), CliError> {
        if let Some(finding) = self.findings.iter().find(|finding| finding.is_fatal()) {
            let (check, verdict) = (finding.check.name(), finding.verdict.name());
            let message = format!(
                "backups cannot be kept in {}: {check}: {verdict}: {}",
                self.url, finding.said
            );
            return Err(CliError::failed("BUCKET_UNFIT", message));
        }
        match self.not_removed() {
            Some(left) => Err(CliError::failed("NOT_REMOVED", left)),
            None => Ok(()),
        }
    }

    /// What is there still, and why.
    fn not_removed(&self) -> Option<String> {
        let first = self.left.first()?;
        let why = first
            .error
            .as_ref()
            .map_or_else(|| "it is listed still".to_owned(), ToString::to_string);
        Some(format!(
            "{} objects in {} may be there still, such as {}: {why}",
            self.left.len(),
            self.url,
            first.name
        ))
    }

    fn warnings(&self) -> usize {
        let warnings = self.findings.iter().filter(|finding| finding.is_warning());
        warnings.count()
    }

    fn to_json(&self) -> Json {
        let finding = |finding: &Finding| {
            json!({
                "check": finding.check.name(),
                "result": finding.verdict.name(),
                "needed": finding.check.is_needed(),
                "seen": finding.said,
                "meaning": finding.meaning(),
                "seconds": finding.took.as_secs_f64(),
            })
        };
        let left = |left: &Left| json!({ "name": left.name, "error": left.error.as_ref().map(ToString::to_string) });
        json!({
            "bucket": self.url.to_string(),
            "fit": !self.findings.iter().any(Finding::is_fatal),
            "warnings": self.warnings(),
            "checks": self.findings.iter().map(finding).collect::<Vec<_>>(),
            "not_removed": self.left.iter().map(left).collect::<Vec<_>>(),
            "seconds": self.took.as_secs_f64(),
        })
    }

    fn to_text(&self) -> String {
        let mut table = table(["check", "result", "needed", "what it means"]);
        for finding in &self.findings {
            let needed = if finding.check.is_needed() {
                "yes"
            } else {
                "no"
            };
            let (check, result) = (finding.check.name(), finding.verdict.name());
            table.add_row([check, result, needed, finding.meaning()]);
        }
        let seen = self
            .findings
            .iter()
            .filter(|finding| !finding.said.is_empty())
            .map(|finding| format!("{}: {}\n", finding.check.name(), finding.said));
        let seen: String = seen.collect();
        let fit = if self.findings.iter().any(Finding::is_fatal) {
            "backups cannot be kept in"
        } else {
            "backups can be kept in"
        };
        let warnings = match self.warnings() {
            0 => String::new(),
            1 => ", with 1 warning".to_owned(),
            count => format!(", with {count} warnings"),
        };
        let took = readable(self.took);
        format!(
            "{table}\n{seen}{fit} {}{warnings}; tried in {took}",
            self.url
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::error::Exit;
    use super::*;
    use crate::backup::trial::Verdict;

    fn report(check: Check, verdict: Verdict) -> Report {
        Report {
            url: "file:///backups".parse().unwrap(),
            findings: vec![Finding {
                check,
                verdict,
                said: "seen so".to_owned(),
                took: Duration::from_millis(1_500),
            }],
            left: Vec::new(),
            took: Duration::from_secs(2),
        }
    }

    #[test]
    fn a_warning_is_no_failure() {
        let report = report(Check::Race, Verdict::Ignored);
        assert_eq!(report.verdict(), Ok(()));
        let text = report.to_text();
        assert!(
            text.ends_with(
                "create-only-race: seen so\nbackups can be kept in file:///backups, with 1 warning; tried in 2.00 s"
            ),
            "{text}"
        );
        let json = report.to_json();
        assert_eq!((&json["fit"], &json["warnings"]), (&json!(true), &json!(1)));
        assert_eq!(json["checks"][0]["result"], "silently ignored");
        assert_eq!(json["checks"][0]["seconds"], 1.5);
    }

    #[test]
    fn what_is_needed_and_does_not_work_is_a_failure() {
        let report = report(Check::RangedRead, Verdict::Failed);
        let error = report.verdict().unwrap_err();
        assert_eq!(error.exit(), Exit::Failed);
        assert_eq!(
            error.to_string(),
            "BUCKET_UNFIT: backups cannot be kept in file:///backups: ranged-read: failed: seen so"
        );
        assert_eq!(report.to_json()["fit"], json!(false));
    }

    #[test]
    fn what_is_left_is_a_failure_and_named() {
        let mut report = report(Check::Remove, Verdict::Refused);
        report.left.push(Left {
            name: "verify-store-1/a".to_owned(),
            error: None,
        });
        let error = report.verdict().unwrap_err().to_string();
        assert_eq!(
            error,
            "NOT_REMOVED: 1 objects in file:///backups may be there still, such as verify-store-1/a: it is listed still"
        );
        assert_eq!(
            report.to_json()["not_removed"][0]["name"],
            "verify-store-1/a"
        );
    }
}
