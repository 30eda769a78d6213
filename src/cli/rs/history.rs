//! `steadfast rs history`

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::super::connection::Connection;
use super::super::error::CliError;
use super::super::output::{Output, grouped, print, print_json, readable, table};
use crate::base::Micros;
use crate::proto::v1;

pub(super) async fn history(connection: &Connection) -> Result<(), CliError> {
    let epochs = connection.client().await?.history().await?;
    match connection.output {
        Output::Json => print_json(&json!({
            "epochs": epochs.iter().map(document).collect::<Vec<_>>(),
        })),
        Output::Table => print(&rendered(&epochs)),
    }
}

fn rendered(epochs: &[v1::EpochNote]) -> String {
    let mut out = table([
        "epoch",
        "primary",
        "serving since",
        "because",
        "no writes for",
        "recovered",
        "last record",
        "data members",
    ]);
    let latest = epochs.last().map(|note| note.epoch);
    for note in epochs {
        let unserved = if Some(note.epoch) == latest {
            "not yet"
        } else {
            "never"
        };
        let served = note.served.as_ref();
        let paused = served.and_then(|served| served.unavailable_ms);
        let members: Vec<String> = note.members.iter().map(u64::to_string).collect();
        out.add_row([
            note.epoch.to_string(),
            note.primary.to_string(),
            served.map_or(unserved.to_owned(), |at| Micros(at.at_us).to_string()),
            cause(note.cause()).to_owned(),
            paused.map_or("-".to_owned(), |ms| readable(Duration::from_millis(ms))),
            served.and_then(recovered).unwrap_or("-".to_owned()),
            note.last.map_or("-".to_owned(), grouped),
            members.join(" "),
        ]);
    }
    out.to_string()
}

/// The log whose end was recovered, and up to which record.
fn recovered(served: &v1::Served) -> Option<String> {
    let (epoch, seq) = (served.recovered_epoch?, served.recovered_seq?);
    Some(format!("{epoch}/{seq}"))
}

fn document(note: &v1::EpochNote) -> Json {
    let served = note.served.as_ref();
    json!({
        "epoch": note.epoch,
        "primary": note.primary,
        "members": note.members,
        "cause": cause(note.cause()),
        "serving_since": served.map(|served| Micros(served.at_us).to_string()),
        "unavailable_ms": served.and_then(|served| served.unavailable_ms),
        "recovered_epoch": served.and_then(|served| served.recovered_epoch),
        "recovered_seq": served.and_then(|served| served.recovered_seq),
        "last": note.last,
    })
}

fn cause(cause: v1::EpochCause) -> &'static str {
    match cause {
        v1::EpochCause::Unspecified => "unknown",
        v1::EpochCause::First => "first",
        v1::EpochCause::Restart => "restart",
        v1::EpochCause::Silence => "silence",
        v1::EpochCause::Gone => "process gone",
        v1::EpochCause::Unopened => "unopened",
        v1::EpochCause::Forced => "forced",
        v1::EpochCause::Planned => "planned",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_one_line_and_one_document() {
        let served = v1::Served {
            at_us: 1_700_000_000_000_000,
            unavailable_ms: Some(412),
            recovered_epoch: Some(7),
            recovered_seq: Some(1_204),
        };
        let note = v1::EpochNote {
            epoch: 9,
            primary: 2,
            members: vec![1, 2, 3],
            cause: v1::EpochCause::Gone.into(),
            served: Some(served),
            last: Some(88_123),
        };
        let not_yet = v1::EpochNote {
            epoch: 13,
            ..v1::EpochNote::default()
        };
        let never = v1::EpochNote {
            epoch: 12,
            primary: 3,
            cause: v1::EpochCause::Silence.into(),
            ..v1::EpochNote::default()
        };
        let text = rendered(&[note.clone(), never, not_yet]);
        let lines: Vec<String> = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()))
            .collect();
        assert_eq!(
            lines,
            [
                "9 2 2023-11-14T22:13:20Z process gone 412.00 ms 7/1204 88,123 1 2 3",
                "12 3 never silence - - -",
                "13 0 not yet unknown - - -",
            ]
        );
        let json = document(&note);
        assert_eq!(json["unavailable_ms"], 412);
        assert_eq!(json["cause"], "process gone");
        assert_eq!(json["recovered_seq"], 1_204);
    }
}
