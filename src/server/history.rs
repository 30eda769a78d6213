//! Pure: the history of a set's epochs as an answer.

use crate::base::Epoch;
use crate::control::{Cause, EpochNote, Served};
use crate::proto::v1;

/// What is remembered of an epoch.
pub(super) fn note_to_proto(epoch: Epoch, note: &EpochNote) -> v1::EpochNote {
    v1::EpochNote {
        epoch: epoch.0,
        primary: note.primary.0,
        members: note.members.iter().map(|number| number.0).collect(),
        cause: cause_to_proto(note.cause).into(),
        served: note.served.as_ref().map(served_to_proto),
        last: note.last.map(|last| last.0),
    }
}

fn served_to_proto(served: &Served) -> v1::Served {
    v1::Served {
        at_us: i64::try_from(served.at.saturating_mul(1_000)).unwrap_or(i64::MAX),
        unavailable_ms: served.unavailable_ms,
        recovered_epoch: served.recovered.map(|(epoch, _)| epoch.0),
        recovered_seq: served.recovered.map(|(_, seq)| seq.0),
    }
}

fn cause_to_proto(cause: Cause) -> v1::EpochCause {
    match cause {
        Cause::Unrecorded => v1::EpochCause::Unspecified,
        Cause::First => v1::EpochCause::First,
        Cause::Restart => v1::EpochCause::Restart,
        Cause::Silence => v1::EpochCause::Silence,
        Cause::Gone => v1::EpochCause::Gone,
        Cause::Unopened => v1::EpochCause::Unopened,
        Cause::Forced => v1::EpochCause::Forced,
        Cause::Planned => v1::EpochCause::Planned,
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::btree_set;
    use proptest::prelude::*;

    use super::*;
    use crate::base::{NodeNumber, Seq};

    proptest! {
        #[test]
        fn an_epoch_is_told_as_it_is_remembered(
            (epoch, primary, last) in any::<(u64, u64, Option<u64>)>(),
            members in btree_set(any::<u64>(), 0..4),
            served in prop::option::of((0_u64..1 << 40, any::<Option<u64>>(), any::<Option<(u64, u64)>>())),
        ) {
            let note = EpochNote {
                primary: NodeNumber(primary),
                members: members.iter().copied().map(NodeNumber).collect(),
                cause: Cause::Gone,
                served: served.map(|(at, unavailable_ms, recovered)| Served {
                    at,
                    unavailable_ms,
                    recovered: recovered.map(|(epoch, seq)| (Epoch(epoch), Seq(seq))),
                }),
                last: last.map(Seq),
            };
            let expected = v1::EpochNote {
                epoch,
                primary,
                members: members.into_iter().collect(),
                cause: 4,
                served: served.map(|(at, unavailable_ms, recovered)| v1::Served {
                    at_us: i64::try_from(at).unwrap() * 1_000,
                    unavailable_ms,
                    recovered_epoch: recovered.map(|(epoch, _)| epoch),
                    recovered_seq: recovered.map(|(_, seq)| seq),
                }),
                last,
            };
            prop_assert_eq!(note_to_proto(Epoch(epoch), &note), expected);
        }
    }
}
