//! Pure: how members present themselves to each other, and whom they refuse.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::base::ids::ParseIdError;
use crate::base::{IncarnationId, LineageId};
use crate::proto::{Invalid, Problem, v1};

/// The formats of messages and records that this program reads. It writes the last.
pub const FORMATS: RangeInclusive<u32> = 1..=1;

/// Bytes of an address: a DNS name and a port.
const ADDRESS_BYTES: usize = 260;

/// Who this member is to its peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Me {
    /// The history of data it has.
    pub lineage: LineageId,
    /// Its incarnation.
    pub incarnation: IncarnationId,
    /// Where it listens for peers, host:port.
    pub address: String,
}

/// The first thing said on a connection, by both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The formats that its sender reads.
    pub formats: RangeInclusive<u32>,
    /// The sender's lineage.
    pub lineage: LineageId,
    /// The sender.
    pub from: IncarnationId,
    /// Whom it is meant for.
    pub to: IncarnationId,
    /// Where the sender listens for peers.
    pub address: String,
}

/// Why two members do not talk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The hello cannot be read.
    #[error(transparent)]
    Unreadable(#[from] Invalid),
    /// There is no format that both read.
    #[error("the peer reads formats {}, this member {}", Range(.theirs), Range(&FORMATS))]
    Formats {
        /// What the peer reads.
        theirs: RangeInclusive<u32>,
    },
    /// They have different histories.
    #[error("the peer is of lineage {theirs}, this member of {ours}")]
    Lineage {
        /// The peer's.
        theirs: LineageId,
        /// This member's.
        ours: LineageId,
    },
    /// The connection leads to another member than was meant.
    #[error("the peer means incarnation {meant}, this member is {ours}")]
    Incarnation {
        /// Whom the peer means.
        meant: IncarnationId,
        /// Who this member is.
        ours: IncarnationId,
    },
    /// Somebody else answers.
    #[error("incarnation {found} answers in place of {expected}")]
    Answerer {
        /// Who was called.
        expected: IncarnationId,
        /// Who answers.
        found: IncarnationId,
    },
}

/// Formats as people read them.
struct Range<'a>(&'a RangeInclusive<u32>);

impl fmt::Display for Range<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.0.start(), self.0.end())
    }
}

impl Me {
    /// What this member says to another first.
    #[must_use]
    pub fn hello(&self, to: IncarnationId) -> Hello {
        Hello {
            formats: FORMATS,
            lineage: self.lineage,
            from: self.incarnation,
            to,
            address: self.address.clone(),
        }
    }

    /// Is whoever says this one to talk to?
    ///
    /// # Errors
    /// Why not, with what both sides say. Formats are judged first, for the rest may mean something else in another.
    pub fn judge(&self, hello: &Hello) -> Result<(), Refusal> {
        if hello.formats.start() > FORMATS.end() || hello.formats.end() < FORMATS.start() {
            let theirs = hello.formats.clone();
            return Err(Refusal::Formats { theirs });
        }
        if hello.lineage != self.lineage {
            let (theirs, ours) = (hello.lineage, self.lineage);
            return Err(Refusal::Lineage { theirs, ours });
        }
        if hello.to != self.incarnation {
            let (meant, ours) = (hello.to, self.incarnation);
            return Err(Refusal::Incarnation { meant, ours });
        }
        Ok(())
    }

    /// Is this the answer of the member that was called?
    ///
    /// # Errors
    /// As [`judge`](Self::judge), or if somebody else answers.
    pub fn judge_answer(&self, called: IncarnationId, answer: &Hello) -> Result<(), Refusal> {
        self.judge(answer)?;
        if answer.from != called {
            let (expected, found) = (called, answer.from);
            return Err(Refusal::Answerer { expected, found });
        }
        Ok(())
    }
}

impl From<Hello> for v1::PeerHello {
    fn from(hello: Hello) -> v1::PeerHello {
        v1::PeerHello {
            first_format: *hello.formats.start(),
            last_format: *hello.formats.end(),
            lineage: hello.lineage.to_string(),
            from: hello.from.to_string(),
            to: hello.to.to_string(),
            address: hello.address,
        }
    }
}

impl TryFrom<v1::PeerHello> for Hello {
    type Error = Invalid;

    fn try_from(hello: v1::PeerHello) -> Result<Hello, Invalid> {
        let bytes = hello.address.len();
        if bytes > ADDRESS_BYTES {
            let (what, max) = ("address", ADDRESS_BYTES);
            return Err(Problem::TooLarge { what, bytes, max }.at("hello.address"));
        }
        Ok(Hello {
            formats: hello.first_format..=hello.last_format,
            lineage: id("hello.lineage", &hello.lineage)?,
            from: id("hello.from", &hello.from)?,
            to: id("hello.to", &hello.to)?,
            address: hello.address,
        })
    }
}

fn id<T: FromStr<Err = ParseIdError>>(field: &'static str, text: &str) -> Result<T, Invalid> {
    text.parse().map_err(|cause| Problem::NoId(cause).at(field))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn me() -> Me {
        Me {
            lineage: LineageId(1),
            incarnation: IncarnationId(2),
            address: "b:7401".into(),
        }
    }

    fn hello() -> Hello {
        Hello {
            formats: FORMATS,
            lineage: LineageId(1),
            from: IncarnationId(3),
            to: IncarnationId(2),
            address: "c:7401".into(),
        }
    }

    #[test]
    fn a_refusal_says_what_both_sides_have() {
        let refused = |change: fn(&mut Hello)| {
            let mut hello = hello();
            change(&mut hello);
            me().judge(&hello).unwrap_err().to_string()
        };
        assert_eq!(me().judge(&hello()), Ok(()));
        assert_eq!(
            refused(|hello| hello.formats = 2..=3),
            "the peer reads formats 2 to 3, this member 1 to 1"
        );
        assert_eq!(
            refused(|hello| hello.formats = 0..=0),
            "the peer reads formats 0 to 0, this member 1 to 1"
        );
        assert_eq!(
            refused(|hello| hello.lineage = LineageId(16)),
            "the peer is of lineage 00000000000000000000000000000010, \
             this member of 00000000000000000000000000000001"
        );
        assert_eq!(
            refused(|hello| hello.to = IncarnationId(9)),
            "the peer means incarnation 00000000000000000000000000000009, \
             this member is 00000000000000000000000000000002"
        );
        let other = me().judge_answer(IncarnationId(4), &hello());
        assert_eq!(
            other.unwrap_err().to_string(),
            "incarnation 00000000000000000000000000000003 answers \
             in place of 00000000000000000000000000000004"
        );
        assert_eq!(me().judge_answer(IncarnationId(3), &hello()), Ok(()));
    }

    #[test]
    fn formats_that_overlap_are_enough() {
        for formats in [0..=1, 1..=5, 0..=9] {
            let hello = Hello { formats, ..hello() };
            assert_eq!(me().judge(&hello), Ok(()));
        }
    }

    #[test]
    fn a_hello_that_is_none_is_refused_by_field() {
        let refused = |change: fn(&mut v1::PeerHello)| {
            let mut message = v1::PeerHello::from(hello());
            change(&mut message);
            Hello::try_from(message).unwrap_err().field
        };
        assert_eq!(refused(|hello| hello.lineage.clear()), "hello.lineage");
        assert_eq!(refused(|hello| hello.from.push('0')), "hello.from");
        assert_eq!(refused(|hello| hello.to = "x".repeat(32)), "hello.to");
        assert_eq!(
            refused(|hello| hello.address = "x".repeat(261)),
            "hello.address"
        );
    }

    proptest! {
        #[test]
        fn a_hello_reads_back(first: u32, last: u32, lineage: u128, from: u128, to: u128, address in "[a-z0-9.:]{0,40}") {
            let hello = Hello {
                formats: first..=last,
                lineage: LineageId(lineage),
                from: IncarnationId(from),
                to: IncarnationId(to),
                address,
            };
            prop_assert_eq!(Hello::try_from(v1::PeerHello::from(hello.clone())), Ok(hello));
        }
    }
}
