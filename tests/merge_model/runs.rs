//! The configurations: those that must hold, and for each rule one that must fail without it.

use super::rules::Rule;
use super::setup::Op::{Create, Delete, DeleteAt, Drop, Lateness, Override, Ttl};
use super::setup::Setup;
use super::setups::*;

/// A configuration with its name.
pub type Run = (&'static str, Setup);

/// The four kinds of view.
fn kinds(name: [&'static str; 4], setup: &Setup) -> [Run; 4] {
    let kind = |cells, arrival| Setup {
        cells,
        arrival,
        ..setup.clone()
    };
    let all = [
        kind(false, false),
        kind(true, false),
        kind(false, true),
        kind(true, true),
    ];
    let mut all = name.into_iter().zip(all);
    std::array::from_fn(|_| all.next().unwrap())
}

fn cells(setup: Setup) -> Setup {
    Setup {
        cells: true,
        ..setup
    }
}

fn arrival(setup: Setup) -> Setup {
    Setup {
        arrival: true,
        ..setup
    }
}

/// Runs that must hold, small enough to be exhausted.
pub fn small() -> Vec<Run> {
    let late = |setup| Setup {
        steps: &[4],
        offsets: &[-3],
        ..setup
    };
    let ttl = || {
        late(Setup {
            ttl: 3,
            ..writing(&[PUT], &[Ttl(9), PUT], [1, 2])
        })
    };
    let lateness = late(Setup {
        lateness: 3,
        ..writing(&[Delete], &[Lateness(9), PUT], [1, 2])
    });
    let two_cells = late(Setup {
        ttl: 5,
        max_ages: [2, 0],
        ..writing(&[PUT, OTHER], &[OTHER, Delete], [1, 1])
    });
    vec![
        ("ttl altered", ttl()),
        ("ttl altered, cells, arrival", cells(arrival(ttl()))),
        ("max_lateness altered", lateness),
        (
            "overrides",
            Setup {
                lateness: 2,
                ..writing(&[Override], &[PUT, Delete], [1, 1])
            },
        ),
        ("two cells", cells(two_cells)),
        (
            "drop and create",
            Setup {
                steps: &[1],
                offsets: &[0],
                ..writing(&[Drop, Create(0, 0)], &[PUT], [2, 1])
            },
        ),
        (
            "two creations of one generation",
            Setup {
                steps: &[6],
                ..two_creations()
            },
        ),
        ("record before its view", carried()),
        (
            "a member rebuilt",
            Setup {
                steps: &[1],
                ops: [&[Delete], &[PUT]],
                ..rebuilt()
            },
        ),
        ("exchange", snapshot(&[PUT, Delete], 2)),
        ("exchange, cells", cells(snapshot(&[PUT, Delete], 2))),
        (
            "eviction",
            Setup {
                writes: [1, 1],
                steps: &[3],
                ..evicted()
            },
        ),
    ]
}

/// Runs that must hold and take their time.
pub fn large() -> Vec<Run> {
    let names = [
        "ttl altered",
        "ttl altered, cells",
        "ttl altered, arrival",
        "ttl altered, cells, arrival",
    ];
    let mut runs: Vec<Run> = kinds(names, &ttl()).into();
    let names = [
        "a member rebuilt, exchange",
        "a member rebuilt, exchange, cells",
        "a member rebuilt, exchange, arrival",
        "a member rebuilt, exchange, cells, arrival",
    ];
    let ops: [&[_]; 2] = [&[PUT, OTHER, Delete], &[PUT, Delete]];
    runs.extend(kinds(
        names,
        &Setup {
            lateness: 1,
            steps: &[1],
            ops,
            writes: [2, 1],
            ..exchanged()
        },
    ));
    runs.extend([
        ("max_lateness altered", lateness()),
        ("max_lateness altered, cells", cells(lateness())),
        ("overrides", overrides()),
        (
            "deletes with event times",
            Setup {
                horizons: 2,
                ..own_times()
            },
        ),
        ("features with max_age", max_ages()),
        (
            "drop and create",
            Setup {
                writes: [3, 2],
                ..views()
            },
        ),
        (
            "two creations of one generation",
            Setup {
                writes: [4, 2],
                ..two_creations()
            },
        ),
        (
            "two keys",
            Setup {
                keys: 2,
                lateness: 2,
                offsets: &[-2, 0],
                steps: &[1, 3],
                ..Setup::small()
            },
        ),
        (
            "record before its view",
            Setup {
                horizons: 1,
                ..carried()
            },
        ),
        ("promotion", promoted()),
        ("two horizons, a member rebuilt", two_horizons()),
        ("eviction", evicted()),
        (
            "eviction, three nodes",
            Setup {
                evicts: true,
                exchanges: 1,
                offsets: &[-2],
                ..three_nodes()
            },
        ),
    ]);
    runs
}

/// Everything at once, for random walks.
pub fn everything_at_once() -> Vec<Run> {
    let names = [
        "everything, rows",
        "everything, cells",
        "everything, arrival",
        "everything, cells, arrival",
    ];
    kinds(names, &everything()).into()
}

/// Some node may be behind a horizon without having been rebuilt.
fn behind(setup: Setup) -> Setup {
    let rules = setup.rules.without(Rule::Applied);
    Setup { rules, ..setup }
}

/// For each rule a run that must fail without it.
pub fn must_fail() -> Vec<(Rule, Setup)> {
    let late = |setup: Setup| Setup {
        lateness: 2,
        offsets: &[-6, -2, 0],
        ..setup
    };
    let delete_put = || writing(&[Delete], &[PUT], [1, 1]);
    let runs = vec![
        (Rule::Greater, Setup::small()),
        (Rule::Carried, carried()),
        (Rule::Stays, cells(Setup::small())),
        (Rule::Above, Setup::small()),
        (Rule::AbovePromoted, promoted()),
        (
            Rule::DeleteTime,
            Setup {
                offsets: &[2],
                ..Setup::small()
            },
        ),
        (
            Rule::TombstoneTime,
            Setup {
                offsets: &[4],
                ..writing(&[PUT, Delete, Override], &[], [3, 0])
            },
        ),
        (
            Rule::Override,
            late(writing(&[Delete], &[Override], [1, 1])),
        ),
        (Rule::TooLate, late(delete_put())),
        (Rule::ExpiryFloor, ttl()),
        (
            Rule::LatenessFloor,
            Setup {
                lateness: 3,
                offsets: &[-8],
                steps: &[1],
                ..writing(&[Delete], &[Lateness(9), PUT], [1, 2])
            },
        ),
        (
            Rule::LatenessGrows,
            Setup {
                lateness: 4,
                offsets: &[-4],
                steps: &[1, 5],
                ..writing(&[Lateness(1), Delete], &[PUT], [2, 1])
            },
        ),
        (
            Rule::ViewTtl,
            Setup {
                max_ages: [2, 0],
                offsets: &[-3],
                ..writing(&[OTHER], &[PUT], [1, 1])
            },
        ),
        (
            Rule::Mark,
            Setup {
                steps: &[1],
                ..writing(&[PUT, Drop, Create(0, 0)], &[], [3, 0])
            },
        ),
        (
            Rule::Generation,
            Setup {
                steps: &[1],
                ..writing(&[PUT, Drop, Create(0, 0)], &[], [3, 0])
            },
        ),
        (Rule::CreatedOnce, two_creations()),
        (Rule::Closed, late(delete_put())),
        (
            Rule::HorizonRecord,
            Setup {
                ttl: 2,
                ops: [&[PUT], &[]],
                writes: [1, 0],
                ..three_nodes()
            },
        ),
        (
            Rule::Cover,
            Setup {
                ops: [&[Delete], &[PUT]],
                ..rebuilt()
            },
        ),
        (
            Rule::KeepLast,
            Setup {
                rebuilds: 0,
                ..behind(two_horizons())
            },
        ),
        (
            Rule::ReadFilter,
            Setup {
                ttl: 3,
                ..writing(&[PUT], &[], [1, 0])
            },
        ),
        (
            Rule::LeaveOut,
            Setup {
                ttl: 3,
                offsets: &[-2],
                ..writing(&[Ttl(1)], &[PUT], [1, 1])
            },
        ),
        (Rule::Below, arrival(writing(&[PUT], &[Delete], [1, 1]))),
        (
            Rule::LateTombstone,
            Setup {
                offsets: &[-6],
                ..delete_put()
            },
        ),
        (
            Rule::Strict,
            Setup {
                lateness: 3,
                steps: &[1, 2],
                offsets: &[-5, -4],
                ..writing(&[Lateness(9), DeleteAt], &[PUT], [2, 1])
            },
        ),
        (Rule::Receiver, behind(snapshot(&[PUT, Delete], 2))),
        (
            Rule::Item,
            behind(cells(snapshot(&[PUT, OTHER, Delete], 3))),
        ),
        (Rule::Sender, behind(snapshot(&[PUT, Delete], 2))),
        (
            Rule::HorizonJoin,
            Setup {
                exchanges: 1,
                ttl: 2,
                ..writing(&[PUT], &[], [1, 0])
            },
        ),
        (
            Rule::Cut,
            Setup {
                evicts: true,
                ops: [&[Delete], &[PUT]],
                ..three_nodes()
            },
        ),
        (
            Rule::StartOver,
            Setup {
                ops: [&[Delete], &[PUT]],
                writes: [1, 1],
                ..evicted()
            },
        ),
        (Rule::Counted, evicted()),
    ];
    runs.into_iter().map(without).collect()
}

/// Rules for which the run above lets a horizon be agreed before all have applied what it covers, so that a node falls
/// behind in fewer steps: here a rebuilt member does.
pub fn must_fail_when_rebuilt() -> Vec<(Rule, Setup)> {
    let item = Setup {
        ops: [&[PUT, OTHER, Delete], &[]],
        lateness: 1,
        writes: [3, 0],
        steps: &[1],
        ..exchanged()
    };
    let runs = [
        (Rule::KeepLast, two_horizons()),
        (Rule::Receiver, exchanged()),
        (Rule::Item, cells(item)),
        (Rule::Sender, exchanged()),
    ];
    runs.into_iter().map(without).collect()
}

/// Rules without which all still holds.
pub fn spare() -> Vec<(Rule, Setup)> {
    let runs = [
        (
            Rule::Expired,
            Setup {
                ttl: 3,
                offsets: &[-3],
                ..writing(&[PUT, Delete], &[Ttl(9), PUT], [1, 1])
            },
        ),
        (
            Rule::Applied,
            Setup {
                lateness: 2,
                ..writing(&[Delete], &[PUT], [1, 1])
            },
        ),
    ];
    runs.into_iter().map(without).collect()
}

fn without((rule, setup): (Rule, Setup)) -> (Rule, Setup) {
    let rules = setup.rules.without(rule);
    (rule, Setup { rules, ..setup })
}
