//! Session tokens: what clients carry from one call to the next, and over an upgrade.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use steadfast::base::{Epoch, LineageId, LogId, RegionId, Seq};
use steadfast::read::{SessionKey, Token};

use crate::bytes;

/// Format; lineage; doubtful epoch; no base; two logs: region, epoch, seq.
const SEALED: &[&str] = &[
    "01",
    "11000000000000000000000000000000",
    "0300000000000000",
    "00000000",
    "02000000",
    "0500000000000000",
    "0300000000000000",
    "0900000000000000",
    "0600000000000000",
    "0400000000000000",
    "0100000000000000",
];
const TAG: &str = "996d6efe8afc782598f875a09966cf37c3bd488e6d69a97178587e6dfe9acbcc";

#[test]
fn a_session_token_is_as_in_version_1() {
    let key = SessionKey::derive(&[7; 32]);
    let mut token = Token::new(LineageId(0x11));
    for (region, epoch, seq, is_committed) in [(5, 3, 9, false), (6, 4, 1, true)] {
        let (region, epoch) = (RegionId(region), Epoch(epoch));
        token.see(LogId { region, epoch }, Seq(seq), is_committed);
    }
    let text = token.seal(&key);
    let sealed = URL_SAFE_NO_PAD.decode(&text).unwrap();
    assert_eq!(hex::encode(sealed), [&SEALED.concat(), TAG].concat());
    let golden = URL_SAFE_NO_PAD.encode(bytes(&[&SEALED.concat(), TAG]));
    assert_eq!(Token::open(&key, &golden), Ok(token));
}
