//! Whatever room there is, all is heard, in order, and no number too early.

use super::*;
use crate::base::{Epoch, Seq, VersionVector};
use crate::replication::Round;
use crate::replication::testing::records;
use proptest::prelude::*;

const PRIMARY: IncarnationId = IncarnationId(1);

fn append(number: u64, records: Vec<crate::replication::Logged>) -> Append {
    Append {
        epoch: Epoch(1),
        number,
        round: Round(number),
        vector: VersionVector::new(),
        records,
    }
}

/// What a core has heard.
#[derive(Default)]
struct Heard {
    seqs: Vec<Seq>,
    number: u64,
    round: Round,
}

impl Heard {
    fn hear(&mut self, append: &Append) {
        self.seqs
            .extend(append.records.iter().map(|record| record.seq()));
        self.number = self.number.max(append.number);
        self.round = self.round.max(append.round);
    }
}

proptest! {
    #[test]
    fn records_wait_for_room_and_pings_do_not(
        counts in proptest::collection::vec(0..300_usize, 1..20),
        rooms in proptest::collection::vec(0..400_usize, 1..20),
    ) {
        let (mut backlog, mut heard) = (Backlog::default(), Heard::default());
        let mut log = records(1, counts.iter().sum::<usize>() as u64, 0).into_iter();
        let mut last_of = Vec::new();
        let mut rooms = rooms.into_iter().cycle();
        for (count, number) in counts.into_iter().zip(1..) {
            let sent: Vec<_> = log.by_ref().take(count).collect();
            if let Some(last) = sent.last() {
                last_of.push((number, last.seq()));
            }
            let mut room = rooms.next().unwrap();
            let now = backlog.push(PRIMARY, append(number, sent), room);
            prop_assert!(now.records.len() <= room);
            room -= now.records.len();
            heard.hear(&now);
            prop_assert_eq!(heard.round, Round(number), "the ping is heard at once");
            while let Some((from, part)) = backlog.next(room) {
                prop_assert_eq!(from, PRIMARY);
                prop_assert!(part.records.len() <= room);
                room -= part.records.len();
                heard.hear(&part);
            }
            let held = heard.seqs.last().copied().unwrap_or(Seq::NONE);
            for (number, last) in &last_of {
                prop_assert!(heard.number < *number || held >= *last, "{number} heard, {held} held");
            }
        }
        while let Some((_, part)) = backlog.next(FEW) {
            heard.hear(&part);
        }
        let all: Vec<_> = (1..=heard.seqs.len() as u64).map(Seq).collect();
        prop_assert_eq!(&heard.seqs, &all);
        prop_assert!(log.next().is_none());
        prop_assert_eq!(backlog.bytes, 0);
        prop_assert_eq!(last_of.last().map_or(Seq::NONE, |(_, last)| *last), Seq(all.len() as u64));
    }
}

#[test]
fn what_waits_is_bounded_and_what_is_lost_is_not_heard_of() {
    let mut backlog = Backlog::default();
    for (number, mut record) in (1..).zip(records(1, 5, 0)) {
        // As many bytes as three of them may wait.
        record.bytes = vec![0; MOST_BYTES / 3].into();
        let ping = backlog.push(PRIMARY, append(number, vec![record]), 0);
        assert_eq!((ping.number, ping.records.len()), (0, 0));
        assert_eq!(backlog.waiting.len() as u64, number.min(3));
    }
}
