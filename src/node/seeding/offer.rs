//! Pure: what a member is offered, and how that is written on the wire.

use std::collections::BTreeSet;

use crate::base::codec::DecodeError;
use crate::base::{Epoch, SnapshotId};
use crate::net::Hello;
use crate::proto::{Invalid, Problem, v1};
use crate::storage::{FileName, Snapshot, State, StoreFile};

/// A store that one member offers another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offer {
    /// Who offers it to whom, and where it can be fetched.
    pub hello: Hello,
    /// In whose name.
    pub epoch: Epoch,
    /// How the sender names it.
    pub id: SnapshotId,
    /// What it is.
    pub snapshot: Snapshot,
}

impl From<Offer> for v1::OfferSnapshotRequest {
    fn from(offer: Offer) -> v1::OfferSnapshotRequest {
        let file = |file: StoreFile| v1::SnapshotFile {
            name: file.name.as_str().to_owned(),
            bytes: file.bytes,
            digest: file.digest.as_bytes().to_vec().into(),
        };
        v1::OfferSnapshotRequest {
            hello: Some(offer.hello.into()),
            epoch: offer.epoch.0,
            snapshot_id: offer.id.0,
            state: offer.snapshot.state.encode().into(),
            files: offer.snapshot.files.into_iter().map(file).collect(),
        }
    }
}

impl TryFrom<v1::OfferSnapshotRequest> for Offer {
    type Error = Invalid;

    fn try_from(request: v1::OfferSnapshotRequest) -> Result<Offer, Invalid> {
        let unreadable = |cause: DecodeError| Problem::Unreadable(cause).at("state");
        let mut names = BTreeSet::new();
        let mut files = Vec::with_capacity(request.files.len());
        for (at, file) in request.files.iter().enumerate() {
            let file = read_file(file).map_err(|problem| problem.at(format!("files[{at}]")))?;
            if !names.insert(file.name.clone()) {
                let (what, name) = ("file", file.name.to_string());
                return Err(Problem::Duplicate { what, name }.at(format!("files[{at}].name")));
            }
            files.push(file);
        }
        Ok(Offer {
            hello: Hello::try_from(request.hello.unwrap_or_default())?,
            epoch: Epoch(request.epoch),
            id: SnapshotId(request.snapshot_id),
            snapshot: Snapshot {
                state: State::decode(&request.state).map_err(unreadable)?,
                files,
            },
        })
    }
}

/// The name of a file, as it stands in a request.
pub(super) fn read_name(name: &str) -> Result<FileName, Problem> {
    FileName::parse(name).map_err(|_| Problem::NoName {
        what: "file of a store",
        name: name.chars().take(64).collect(),
    })
}

fn read_file(file: &v1::SnapshotFile) -> Result<StoreFile, Problem> {
    let digest: [u8; blake3::OUT_LEN] =
        file.digest
            .as_ref()
            .try_into()
            .map_err(|_| Problem::Count {
                what: "bytes of digest",
                expected: blake3::OUT_LEN,
                found: file.digest.len(),
            })?;
    Ok(StoreFile {
        name: read_name(&file.name)?,
        bytes: file.bytes,
        digest: digest.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Hlc, IncarnationId, LineageId};
    use crate::net::FORMATS;
    use proptest::prelude::*;

    fn offer(newest: u64, files: &[(u32, u64, [u8; 32])]) -> Offer {
        let file = |(number, bytes, digest): &(u32, u64, [u8; 32])| StoreFile {
            name: FileName::parse(&format!("{number:06}.sst")).unwrap(),
            bytes: *bytes,
            digest: (*digest).into(),
        };
        let mut files: Vec<_> = files.iter().map(file).collect();
        files.sort_by(|one, other| one.name.cmp(&other.name));
        files.dedup_by(|one, other| one.name == other.name);
        Offer {
            hello: Hello {
                formats: FORMATS,
                lineage: LineageId(1),
                from: IncarnationId(2),
                to: IncarnationId(3),
                address: "a:1".to_owned(),
            },
            epoch: Epoch(newest / 2),
            id: SnapshotId(newest / 3),
            snapshot: Snapshot {
                state: State {
                    newest: Hlc(newest),
                    ..State::default()
                },
                files,
            },
        }
    }

    proptest! {
        #[test]
        fn an_offer_comes_back_from_the_wire(newest: u64, files: Vec<(u32, u64, [u8; 32])>) {
            let offer = offer(newest, &files);
            prop_assert_eq!(Offer::try_from(v1::OfferSnapshotRequest::from(offer.clone())), Ok(offer));
        }

        #[test]
        fn what_no_member_offers_is_refused_without_a_panic(state: Vec<u8>, names: Vec<(String, Vec<u8>)>) {
            let mut request = v1::OfferSnapshotRequest::from(offer(0, &[]));
            request.state = state.into();
            let file = |(name, digest): (String, Vec<u8>)| v1::SnapshotFile { name, bytes: 0, digest: digest.into() };
            request.files = names.into_iter().map(file).collect();
            prop_assert!(Offer::try_from(request).is_err());
        }
    }

    #[test]
    fn an_error_names_the_file_that_is_wrong() {
        let refused = |change: fn(&mut v1::SnapshotFile)| {
            let offer = offer(1, &[(1, 1, [1; 32]), (2, 2, [2; 32])]);
            let mut request = v1::OfferSnapshotRequest::from(offer);
            change(&mut request.files[1]);
            Offer::try_from(request).unwrap_err().to_string()
        };
        assert_eq!(
            refused(|file| file.name = "../CURRENT".to_owned()),
            "files[1]: \"../CURRENT\" is no file of a store"
        );
        assert_eq!(
            refused(|file| file.digest = vec![0; 31].into()),
            "files[1]: 31 bytes of digest, expected 32"
        );
        assert_eq!(
            refused(|file| file.name = "000001.sst".to_owned()),
            "files[1].name: file \"000001.sst\" is named twice"
        );
    }
}
