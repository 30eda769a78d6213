//! Pure: how a failover went, by what the nodes logged.

use std::time::Duration;

use crate::base::Micros;
use crate::model::json::time_from_text;

/// What happens on the way to another primary, and the line that a node then logs.
const STEPS: [(&str, &str); 4] = [
    ("suspected", "suspects the primary"),
    ("begun", "epoch begun"),
    ("sealed", "has it opened"),
    ("opened", "serves writes"),
];
/// The line that says how much came back of an earlier epoch's log.
const WHOLE: &str = "the log of an earlier epoch is whole";

/// How long after `killed` the steps to this epoch were taken first.
#[must_use]
pub fn steps(logs: &[String], killed: Micros, epoch: u64) -> Vec<(&'static str, Duration)> {
    let since = |(at, line): (Micros, &'_ str), text: &str| {
        let is_of_epoch = field(line, "epoch").is_none_or(|of| of == epoch);
        let after = u64::try_from(at.0 - killed.0).ok()?;
        (line.contains(text) && is_of_epoch).then_some(Duration::from_micros(after))
    };
    let first = |text| {
        let lines = logs.iter().flat_map(|log| log.lines());
        lines
            .filter_map(dated)
            .filter_map(|line| since(line, text))
            .min()
    };
    let steps = STEPS.iter();
    steps
        .filter_map(|(name, text)| Some((*name, first(text)?)))
        .collect()
}

/// Records of this epoch's log that came back after a later one had opened without them; `None` if it is not whole yet.
#[must_use]
pub fn returned(logs: &[String], epoch: u64) -> Option<u64> {
    let lines = logs.iter().flat_map(|log| log.lines());
    let mut whole =
        lines.filter(|line| line.contains(WHOLE) && field(line, "epoch") == Some(epoch));
    field(whole.next()?, "returned")
}

/// A line with the time at its beginning.
fn dated(line: &str) -> Option<(Micros, &str)> {
    let (time, rest) = line.split_once(' ')?;
    Some((time_from_text(time)?, rest))
}

fn field(line: &str, name: &str) -> Option<u64> {
    let fields = line.split(' ').filter_map(|word| word.split_once('='));
    let mut values = fields.filter(|(of, _)| *of == name).map(|(_, value)| value);
    values.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "\
2026-11-21T12:00:00.000000Z  INFO steadfast::node::member::chronicle: serves writes epoch=7
2026-11-21T12:00:09.000000Z  INFO steadfast::net::dial: connected to a peer";
    const NEW: &str = "\
2026-11-21T12:00:01.000000Z  INFO steadfast::node::member::chronicle: suspects the primary: asks the others
2026-11-21T12:00:05.010000Z  INFO steadfast::node::member::chronicle: suspects the primary: asks the others
2026-11-21T12:00:05.020000Z  INFO steadfast::node::member::chronicle: epoch begun: has it sealed epoch=9
2026-11-21T12:00:05.040000Z  INFO steadfast::node::member::chronicle: epoch sealed: has it opened epoch=9
2026-11-21T12:00:05.080000Z  INFO steadfast::node::member::chronicle: serves writes epoch=9
2026-11-21T12:00:08.000000Z  INFO steadfast::node::member::chronicle: the log of an earlier epoch is whole epoch=7 records=90 returned=4
2026-11-21T12:00:08.500000Z  INFO steadfast::node::member::chronicle: suspects the primary: asks the others
2026-11-21T12:00:08.600000Z  INFO steadfast::node::member::chronicle: serves writes epoch=12";

    #[test]
    fn the_steps_are_those_of_the_epoch_that_followed() {
        let logs = [OLD.to_owned(), NEW.to_owned()];
        let killed = time_from_text("2026-11-21T12:00:05Z").unwrap();
        let steps = steps(&logs, killed, 9);
        let millis: Vec<_> = steps
            .iter()
            .map(|(name, at)| (*name, at.as_millis()))
            .collect();
        let expected = [
            ("suspected", 10),
            ("begun", 20),
            ("sealed", 40),
            ("opened", 80),
        ];
        assert_eq!(millis, expected);
    }

    #[test]
    fn what_came_back_is_said_once_the_log_is_whole() {
        let logs = [OLD.to_owned(), NEW.to_owned()];
        assert_eq!([7, 9].map(|epoch| returned(&logs, epoch)), [Some(4), None]);
    }
}
