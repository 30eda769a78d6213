//! Pure: errors as one line for people.

use std::error::Error;

/// An error with its causes, outermost first. A cause that the text ends with already is not repeated.
#[must_use]
pub fn explained(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Outer {
        #[error("cannot open {path}")]
        Open {
            path: &'static str,
            source: std::io::Error,
        },
        #[error("cannot start: {0}")]
        Told(#[source] std::io::Error),
    }

    #[test]
    fn causes_follow_and_are_told_once() {
        let source = || std::io::Error::other("no such file");
        let open = Outer::Open {
            path: "wal",
            source: source(),
        };
        assert_eq!(explained(&open), "cannot open wal: no such file");
        assert_eq!(
            explained(&Outer::Told(source())),
            "cannot start: no such file"
        );
    }
}
