//! Sealed files: who a directory is, and what its set has agreed.

use std::path::Path;

use steadfast::base::sealed::Kind;
use steadfast::base::{BootNumber, BootToken, Epoch, IncarnationId, LineageId, RegionId};
use steadfast::control::ControlState;
use steadfast::node::Identity;

use super::bounded;

/// JSON numbers of two bytes become entries of maps.
const MULTIPLE: u64 = 100;

const IDENTITY: Kind = Kind {
    name: "identity",
    version: 1,
};
const CONTROL: Kind = Kind {
    name: "control",
    version: 2,
};

pub fn check(bytes: &[u8]) {
    let path = Path::new("FILE");
    for kind in [IDENTITY, CONTROL] {
        if let Ok(body) = bounded(bytes.len(), MULTIPLE, || kind.open(path, bytes)) {
            assert!(bytes.ends_with(body.as_bytes()));
            check_body(&body);
        }
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    // As a whole file, and as one whose body was changed with its checksum.
    let body = text.split_once('\n').map_or(text, |(_, body)| body);
    for body in [text, body] {
        let opened = IDENTITY.open(path, IDENTITY.seal(body).as_bytes());
        assert_eq!(opened.expect("sealed just now"), body);
        check_body(body);
    }
}

fn check_body(body: &str) {
    let identity = bounded(body.len(), MULTIPLE, || {
        serde_json::from_str::<Identity>(body)
    });
    if let Ok(identity) = identity {
        let again = serde_json::to_string_pretty(&identity).expect("an identity is JSON");
        let again = serde_json::from_str::<Identity>(&again);
        assert_eq!(again.expect("written just now"), identity);
    }
    let control = bounded(body.len(), MULTIPLE, || {
        serde_json::from_str::<ControlState>(body)
    });
    if let Ok(state) = control {
        let again = serde_json::to_string_pretty(&state).expect("a control state is JSON");
        let again = serde_json::from_str::<ControlState>(&again);
        assert_eq!(again.expect("written just now"), state);
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let (lineage, region, incarnation) = (LineageId(1), RegionId(2), IncarnationId(3));
    let identity = Identity {
        lineage,
        region,
        incarnation,
        boot: BootNumber(4),
        tokens: [BootToken(5), BootToken(u64::MAX)].into(),
        promise: Epoch(6),
    };
    let identity = serde_json::to_string_pretty(&identity).expect("an identity is JSON");
    let control = ControlState::new(lineage, region, incarnation);
    let control = serde_json::to_string_pretty(&control).expect("a control state is JSON");
    vec![
        IDENTITY.seal(&identity).into_bytes(),
        CONTROL.seal(&control).into_bytes(),
    ]
}
