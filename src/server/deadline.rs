//! Pure: how long a call may take.

use std::time::Duration;

use tonic::metadata::MetadataMap;

/// For calls that set no deadline.
const DEFAULT: Duration = Duration::from_secs(10);
/// No call holds resources longer than this, whatever its client is ready to wait for.
pub const MOST: Duration = Duration::from_secs(60);

/// How long the node may take for a call. A little less than the client waits, so that an answer that the deadline has
/// passed, with what is known of a write, still reaches it.
#[must_use]
pub fn budget(metadata: &MetadataMap) -> Duration {
    let header = metadata.get("grpc-timeout");
    let asked = header.and_then(|value| parse_timeout(value.to_str().ok()?));
    let limit = asked.unwrap_or(DEFAULT).min(MOST);
    limit - limit / 20
}

/// Reads `grpc-timeout`: up to eight digits and a unit.
fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3_600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget_of(timeout: &str) -> Duration {
        let mut metadata = MetadataMap::new();
        metadata.insert("grpc-timeout", timeout.parse().unwrap());
        budget(&metadata)
    }

    #[test]
    fn the_answer_is_due_before_the_client_gives_up() {
        assert_eq!(budget_of("1000m"), Duration::from_millis(950));
        assert_eq!(budget_of("2S"), Duration::from_millis(1_900));
        assert_eq!(budget_of("20000u"), Duration::from_millis(19));
    }

    #[test]
    fn no_deadline_or_a_distant_one_is_bounded() {
        assert_eq!(budget(&MetadataMap::new()), Duration::from_millis(9_500));
        for timeout in ["99999999H", "2M"] {
            assert_eq!(budget_of(timeout), Duration::from_secs(57));
        }
        for malformed in ["", "S", "1", "-1S", "123456789S", "1 S", "1\u{fffd}"] {
            assert_eq!(parse_timeout(malformed), None, "{malformed:?}");
        }
    }
}
