//! Pure: what an S3-style server says when it does not do what it was asked for.
//!
//! The library below tells a status it does not know by words alone; what a caller should do depends on the code that the
//! server gives, so answers are read here.

use hyper::StatusCode;

use super::error::Kind;

/// An answer that is not the one hoped for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.in_words())]
pub(super) struct Answer {
    pub status: StatusCode,
    /// The server's name for what is wrong, such as `SlowDown`; empty if it gives none.
    pub code: String,
    /// What it says to people; may be empty.
    pub message: String,
}

impl Answer {
    /// Reads the body of an answer, which is a small XML document, or something else, or nothing.
    pub fn new(status: StatusCode, body: &str) -> Answer {
        let part = |tag: &str| element(body, tag).unwrap_or_default();
        Answer {
            status,
            code: part("Code"),
            message: part("Message"),
        }
    }

    /// Is this body of an answer with a status of success an error all the same? Servers that work on an answer for long
    /// send the status first.
    pub fn is_error(body: &str) -> bool {
        element(body, "Code").is_some() && body.contains("<Error>")
    }

    /// What a caller can make of it. The code decides if it is known, else the status.
    pub fn kind(&self) -> Kind {
        match self.code.as_str() {
            "SlowDown" | "ThrottlingException" | "RequestLimitExceeded" => Kind::Throttled,
            "RequestTimeout" | "InternalError" | "ServiceUnavailable" => Kind::Unavailable,
            "NoSuchKey" => Kind::Missing,
            "NoSuchUpload" | "ConditionalRequestConflict" | "OperationAborted" => Kind::Conflict,
            "NoSuchBucket"
            | "InvalidBucketName"
            | "PermanentRedirect"
            | "AuthorizationHeaderMalformed"
            | "RequestTimeTooSkewed" => Kind::Misconfigured,
            "QuotaExceeded" | "XMinioStorageFull" => Kind::Full,
            _ => self.kind_by_status(),
        }
    }

    fn kind_by_status(&self) -> Kind {
        match self.status.as_u16() {
            401 | 403 => Kind::Denied,
            404 => Kind::Missing,
            408 => Kind::Unavailable,
            409 => Kind::Conflict,
            412 => Kind::AlreadyThere,
            429 | 503 => Kind::Throttled,
            501 => Kind::Unsupported,
            507 => Kind::Full,
            500..=599 => Kind::Unavailable,
            300..=399 => Kind::Misconfigured,
            _ => Kind::BadAnswer,
        }
    }

    fn in_words(&self) -> String {
        let hint = match self.code.as_str() {
            "RequestTimeTooSkewed" => "; the clock of this machine is wrong",
            "PermanentRedirect" | "AuthorizationHeaderMalformed" => {
                "; the region or the endpoint is another"
            }
            _ if self.status.is_redirection() => "; the region or the endpoint is another",
            _ => "",
        };
        let said = [self.code.as_str(), self.message.as_str()];
        let said: Vec<&str> = said.into_iter().filter(|said| !said.is_empty()).collect();
        if said.is_empty() {
            return format!("the answer is {}{hint}", self.status);
        }
        let said = said.join(": ");
        format!("{said} ({}){hint}", self.status.as_u16())
    }
}

/// What stands between the first tags of this name, in one line.
fn element(body: &str, tag: &str) -> Option<String> {
    /// Nobody reads more.
    const LONGEST: usize = 300;
    let (_, rest) = body.split_once(&format!("<{tag}>"))?;
    let (text, _) = rest.split_once(&format!("</{tag}>"))?;
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    Some(line.chars().take(LONGEST).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer::new(StatusCode::from_u16(status).unwrap(), body)
    }

    #[test]
    fn code_and_message_are_found_and_shown() {
        let body = "<?xml version=\"1.0\"?>\n<Error><Code>AccessDenied</Code><Message>Access\n Denied</Message></Error>";
        let denied = answer(403, body);
        assert_eq!(denied.to_string(), "AccessDenied: Access Denied (403)");
        assert_eq!(denied.kind(), Kind::Denied);
        let bare = answer(404, "");
        assert_eq!(bare.to_string(), "the answer is 404 Not Found");
        assert_eq!(answer(500, "<html>oops").code, "");
    }

    #[test]
    fn the_code_says_more_than_the_status() {
        let with = |status, code: &str| answer(status, &format!("<Code>{code}</Code>")).kind();
        assert_eq!(with(404, "NoSuchBucket"), Kind::Misconfigured);
        assert_eq!(with(404, "NoSuchKey"), Kind::Missing);
        assert_eq!(with(404, "NoSuchUpload"), Kind::Conflict);
        assert_eq!(with(400, "RequestTimeout"), Kind::Unavailable);
        assert_eq!(with(200, "SlowDown"), Kind::Throttled);
        assert_eq!(with(403, "RequestTimeTooSkewed"), Kind::Misconfigured);
        assert_eq!(with(403, "QuotaExceeded"), Kind::Full);
        assert_eq!(with(403, "SignatureDoesNotMatch"), Kind::Denied);
    }

    #[test]
    fn without_a_code_the_status_decides() {
        for (status, kind) in [
            (301, Kind::Misconfigured),
            (400, Kind::BadAnswer),
            (403, Kind::Denied),
            (404, Kind::Missing),
            (409, Kind::Conflict),
            (412, Kind::AlreadyThere),
            (429, Kind::Throttled),
            (500, Kind::Unavailable),
            (501, Kind::Unsupported),
            (503, Kind::Throttled),
            (507, Kind::Full),
        ] {
            assert_eq!(answer(status, "").kind(), kind, "{status}");
        }
    }

    #[test]
    fn an_error_may_come_with_a_status_of_success() {
        assert!(Answer::is_error(
            "<Error><Code>InternalError</Code></Error>"
        ));
        assert!(!Answer::is_error(
            "<CompleteMultipartUploadResult><Key>k</Key></CompleteMultipartUploadResult>"
        ));
    }

    #[test]
    fn what_is_shown_is_one_short_line() {
        let long = answer(400, &format!("<Message>{}</Message>", "x\n".repeat(5_000)));
        assert!(long.to_string().len() < 400);
        assert!(!long.to_string().contains('\n'));
    }
}
