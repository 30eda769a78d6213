//! What questions of every kind hold.

use proptest::prelude::*;

use crate::base::{Epoch, IncarnationId, LineageId, LogId, RegionId, Seq};
use crate::net::{FORMATS, Hello};
use crate::read::Token;

pub(super) fn hello() -> Hello {
    Hello {
        formats: FORMATS,
        lineage: LineageId(1),
        from: IncarnationId(2),
        to: IncarnationId(3),
        address: "b:7401".into(),
    }
}

pub(super) fn session() -> impl Strategy<Value = Option<Token>> {
    let seen = (any::<u64>(), 1..9u64, 1..99u64, any::<bool>());
    prop::option::of(prop::collection::vec(seen, 0..4).prop_map(|seen| {
        let mut token = Token::new(LineageId(1));
        for (region, epoch, seq, is_committed) in seen {
            let (region, epoch) = (RegionId(region), Epoch(epoch));
            token.see(LogId { region, epoch }, Seq(seq), is_committed);
        }
        token
    }))
}
