//! The rules of merge, lateness and purge, each of which a run can leave out.

use std::fmt;

/// A rule, or the part of one that can be left out by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Rule {
    /// M1: of two versions the greater one stays, whichever came first.
    Greater,
    /// M1: a record carries merge mode and order, so that it can be merged before its view is known.
    Carried,
    /// M1: the greatest tombstone of a cell row stays, and kills the older cells that come after it.
    Stays,
    /// M2: a stamp lies above every stamp that its writer has applied.
    Above,
    /// M2: that holds at a promotion too.
    AbovePromoted,
    /// M3: a delete's event time is not below any in the row.
    DeleteTime,
    /// M3: the tombstone counts too.
    TombstoneTime,
    /// M4: an override takes its event time like a delete.
    Override,
    /// M5: what lies below the lateness floor is refused.
    TooLate,
    /// M6: what has expired is not logged.
    Expired,
    /// M7: the expiry floor never falls.
    ExpiryFloor,
    /// M8: the lateness floor never falls.
    LatenessFloor,
    /// M8: of all settings of `max_lateness` the greatest counts.
    LatenessGrows,
    /// M9: purge goes by the view's ttl and not by a feature's `max_age`.
    ViewTtl,
    /// M10: the mark of a drop stays for ever.
    Mark,
    /// M10: creating a name again makes the next generation.
    Generation,
    /// M10: a second creation of a generation counts from its stamp on, not from the beginning.
    CreatedOnce,
    /// P1: every registered node has applied what lies at or below the horizon.
    Applied,
    /// P1: every log has promised to stamp only above the horizon.
    Closed,
    /// P2: a node learns of a horizon by a record of its own log.
    HorizonRecord,
    /// P3: a node acts on a horizon only once it has applied what the horizon covers.
    Cover,
    /// P3: until then it acts on the last one that is covered, and not on none.
    KeepLast,
    /// P4: reads leave out what may go, gone or not.
    ReadFilter,
    /// P4: once a sweep has begun, the applier leaves out what may go.
    LeaveOut,
    /// P5: in arrival views only what is stamped at or below the horizon goes.
    Below,
    /// P6: a tombstone goes only below a floor.
    LateTombstone,
    /// P6: strictly below the lateness floor.
    Strict,
    /// P7: what the receiver covers and lacks is not taken.
    Receiver,
    /// P7: that is judged item by item, not row by row.
    Item,
    /// P7: what the sender covers and lacks is dropped by the receiver.
    Sender,
    /// P7: the receiver takes over the sender's horizon.
    HorizonJoin,
    /// P8: an evicted region's log is closed at all that the others hold of it.
    Cut,
    /// P8: it comes back empty.
    StartOver,
    /// P8: what it alone held is counted.
    Counted,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Rule::*;
        let section = match self {
            Greater | Carried | Stays => "M1",
            Above | AbovePromoted => "M2",
            DeleteTime | TombstoneTime => "M3",
            Override => "M4",
            TooLate => "M5",
            Expired => "M6",
            ExpiryFloor => "M7",
            LatenessFloor | LatenessGrows => "M8",
            ViewTtl => "M9",
            Mark | Generation | CreatedOnce => "M10",
            Applied | Closed => "P1",
            HorizonRecord => "P2",
            Cover | KeepLast => "P3",
            ReadFilter | LeaveOut => "P4",
            Below => "P5",
            LateTombstone | Strict => "P6",
            Receiver | Item | Sender | HorizonJoin => "P7",
            Cut | StartOver | Counted => "P8",
        };
        write!(f, "{section} {self:?}")
    }
}

/// The rules in force: all but those left out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rules {
    left_out: u64,
}

impl Rules {
    /// These rules but one.
    pub fn without(self, rule: Rule) -> Rules {
        let left_out = self.left_out | 1 << (rule as u8);
        Rules { left_out }
    }

    /// Is the rule in force?
    pub fn hold(self, rule: Rule) -> bool {
        self.left_out & 1 << (rule as u8) == 0
    }

    /// Are all of these in force?
    pub fn all_hold(self, rules: &[Rule]) -> bool {
        rules.iter().all(|rule| self.hold(*rule))
    }
}
