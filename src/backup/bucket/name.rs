//! Pure: names of objects inside a bucket.
//!
//! A name is what a bucket and a directory can both hold, whatever their rules: it never climbs out of a directory, never
//! names the directory itself, and needs no escaping anywhere. What a listing returns and is no such name is not ours.

use std::fmt;
use std::str::FromStr;

/// Bytes of the longest name. A prefix of this length, and a name of this length below it, make a key that S3 takes (1,024).
const LONGEST: usize = 500;
/// Bytes of the longest segment. File systems take 255, and what is being written has a suffix.
const LONGEST_SEGMENT: usize = 200;

/// The name of an object inside a bucket, or of what begins names: segments of `A-Z a-z 0-9 . _ -`, set apart by `/`.
/// Ordered as listings are, by bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName(String);

/// Why a text is no name of an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// It is too long.
    #[error("a name of {bytes} bytes is longer than {LONGEST}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// One segment is too long.
    #[error("a segment of {bytes} bytes is longer than {LONGEST_SEGMENT}, in {name:?}")]
    LongSegment {
        /// The whole.
        name: String,
        /// The length of the segment.
        bytes: usize,
    },
    /// A segment, or the whole, is empty.
    #[error("a segment is empty, in {name:?}")]
    Empty {
        /// The whole.
        name: String,
    },
    /// A segment is `.` or `..`.
    #[error("{segment:?} is no segment of a name, in {name:?}")]
    Dots {
        /// The whole.
        name: String,
        /// The segment.
        segment: String,
    },
    /// A character is none of those that names consist of.
    #[error("{character:?} is none of A-Z a-z 0-9 . _ -, in {name:?}")]
    Character {
        /// The whole.
        name: String,
        /// The character.
        character: char,
    },
}

impl ObjectName {
    /// Takes a text as a name.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(text: &str) -> Result<ObjectName, BadName> {
        if text.len() > LONGEST {
            return Err(BadName::TooLong { bytes: text.len() });
        }
        let name = || text.to_owned();
        for segment in text.split('/') {
            if segment.is_empty() {
                return Err(BadName::Empty { name: name() });
            }
            if segment.len() > LONGEST_SEGMENT {
                let bytes = segment.len();
                return Err(BadName::LongSegment {
                    name: name(),
                    bytes,
                });
            }
            if segment == "." || segment == ".." {
                let segment = segment.to_owned();
                return Err(BadName::Dots {
                    name: name(),
                    segment,
                });
            }
            if let Some(character) = segment.chars().find(|character| !is_allowed(*character)) {
                return Err(BadName::Character {
                    name: name(),
                    character,
                });
            }
        }
        Ok(ObjectName(text.to_owned()))
    }

    /// The name of what is below this one.
    ///
    /// # Errors
    /// If `more` is no name, or the two together are too long.
    pub fn join(&self, more: &str) -> Result<ObjectName, BadName> {
        ObjectName::parse(&format!("{self}/{more}"))
    }

    /// As it stands in listings.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_allowed(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-')
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ObjectName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<ObjectName, BadName> {
        ObjectName::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_it_was_made_of() {
        for text in ["a", "a/b-c/d_1.sst", "...", ".a", "1/2/3", "UP"] {
            let name = ObjectName::parse(text).unwrap();
            assert_eq!((name.as_str(), name.to_string().as_str()), (text, text));
        }
    }

    #[test]
    fn what_is_no_name_is_refused_and_said_why() {
        for (text, said) in [
            ("", "a segment is empty, in \"\""),
            ("/a", "a segment is empty, in \"/a\""),
            ("a/", "a segment is empty, in \"a/\""),
            ("a//b", "a segment is empty, in \"a//b\""),
            ("a/../b", "\"..\" is no segment of a name, in \"a/../b\""),
            (".", "\".\" is no segment of a name, in \".\""),
            ("a b", "' ' is none of A-Z a-z 0-9 . _ -, in \"a b\""),
            ("a/\0", "'\\0' is none of A-Z a-z 0-9 . _ -, in \"a/\\0\""),
            ("a#1", "'#' is none of A-Z a-z 0-9 . _ -, in \"a#1\""),
            ("ä", "'ä' is none of A-Z a-z 0-9 . _ -, in \"ä\""),
        ] {
            assert_eq!(ObjectName::parse(text).unwrap_err().to_string(), said);
        }
    }

    #[test]
    fn lengths_are_bounded() {
        let segment = "x".repeat(LONGEST_SEGMENT);
        let longest = format!("{segment}/{segment}/{}", "y".repeat(LONGEST - 402));
        assert!(ObjectName::parse(&longest).is_ok());
        let (bytes, name) = (LONGEST_SEGMENT + 1, format!("x{segment}"));
        assert_eq!(
            ObjectName::parse(&name),
            Err(BadName::LongSegment { name, bytes })
        );
        let too_long = ObjectName::parse(&longest).unwrap().join("z").unwrap_err();
        assert_eq!(too_long, BadName::TooLong { bytes: LONGEST + 2 });
    }

    #[test]
    fn joining_checks_what_is_joined() {
        let name = ObjectName::parse("a/b").unwrap();
        assert_eq!(name.join("c/d").unwrap().as_str(), "a/b/c/d");
        assert!(name.join("../c").is_err());
        assert!(name.join("").is_err());
    }

    #[test]
    fn names_are_ordered_as_buckets_list_them() {
        let names = ["a-b", "a.b", "a/b", "a0", "aB", "a_b", "ab"];
        let parsed = names.map(|name| ObjectName::parse(name).unwrap());
        assert!(parsed.is_sorted(), "{parsed:?}");
    }
}
