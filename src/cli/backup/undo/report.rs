//! What becomes of the rows, as it is told.

use serde_json::json;

use super::super::super::error::CliError;
use super::super::super::output::{Output, grouped, print, print_json};
use super::Undo;
use super::decide::Changes;
use crate::backup::way::Way;

/// What became of the rows, or would.
#[derive(Debug, Default)]
pub struct Counts {
    /// Rows that were put.
    pub put: u64,
    /// Rows that were deleted.
    pub deleted: u64,
    /// Rows that said what they are to say.
    pub equal: u64,
    /// Rows that others wrote meanwhile.
    pub changed: u64,
    /// Rows of the moment that have expired since.
    pub expired: u64,
}

impl Counts {
    /// These changes were made, or would be.
    pub fn written(&mut self, changes: &Changes) {
        if changes.only_delete() {
            self.deleted += 1;
        } else {
            self.put += 1;
        }
    }
}

impl Undo {
    /// Tells what came of it.
    pub(super) fn report(&self, way: &Way, output: Output) -> Result<(), CliError> {
        let Counts {
            put,
            deleted,
            equal,
            changed,
            expired,
        } = self.counts;
        let name = &self.live.view.spec.name;
        if output == Output::Json {
            return print_json(&json!({
                "view": name,
                "point": way.manifest.point.to_string(),
                "until_us": way.plan.until.micros().0,
                "final": way.plan.is_final(),
                "dry_run": self.dry_run,
                "created": self.created,
                "put": put,
                "deleted": deleted,
                "equal": equal,
                "changed_meanwhile": changed,
                "expired": expired,
            }));
        }
        let [put, deleted, equal, changed, expired] =
            [put, deleted, equal, changed, expired].map(grouped);
        let mut lines = Vec::new();
        match (self.created, self.dry_run) {
            (true, true) => lines.push(format!("view {name} is not there: it would be created")),
            (true, false) => lines.push(format!("view {name} was not there: it is created")),
            (false, _) => {}
        }
        lines.push(if self.dry_run {
            format!("{name}: {put} rows would be put, {deleted} deleted; {equal} are equal")
        } else {
            format!("{name}: {put} rows put, {deleted} deleted; {equal} were equal")
        });
        if self.counts.changed > 0 {
            lines.push(format!(
                "{changed} rows were written by others meanwhile and are left as they are; the same command undoes these, too"
            ));
        }
        if self.counts.expired > 0 {
            lines.push(format!(
                "{expired} rows of that moment have expired since, and count as not there"
            ));
        }
        print(&lines.join("\n"))
    }
}
