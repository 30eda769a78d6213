//! Pure: what a connection between members is for, by the first call on it.
//!
//! A peer has one port for everything, but a connection of its own for each service, and the first call names it: as the
//! path of a request in HTTP/2, where equal texts are equal bytes (HPACK, with its fixed code of Huffman).

/// What a connection between members carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Raft, and joining.
    Agreement,
    /// Records, pings and seals.
    Records,
}

/// `/steadfast.v1.RaftService/` as it is written, as far as whole bytes go.
const AGREEMENT: &[u8] =
    b"\x61\x09\x28\xe4\x94\x68\x4a\xfd\xc2\xbe\xd1\xca\x9d\xc5\xb3\xb9\x88\x56";
/// `/steadfast.v1.ReplicationService/` likewise.
const RECORDS: &[u8] =
    b"\x61\x09\x28\xe4\x94\x68\x4a\xfd\xc2\xbe\xd2\xd7\x41\x88\x34\x98\xf5\x6e\x2d\x9d\xcc\x42";

/// Finds out what a connection is for.
#[derive(Debug, Default)]
pub struct Recogniser {
    /// The end of what has passed.
    seen: Vec<u8>,
    found: Option<Service>,
}

impl Recogniser {
    /// Takes notice of what is sent to the member that is called; says what is known then.
    pub fn see(&mut self, sent: &[u8]) -> Option<Service> {
        if self.found.is_none() {
            self.seen.extend_from_slice(sent);
            let names = |path: &[u8]| self.seen.windows(path.len()).any(|bytes| bytes == path);
            self.found = [(Service::Agreement, AGREEMENT), (Service::Records, RECORDS)]
                .into_iter()
                .find_map(|(service, path)| names(path).then_some(service));
            let kept = self.seen.len().saturating_sub(RECORDS.len());
            self.seen.drain(..kept);
        }
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_recognised_however_its_name_arrives() {
        for (service, path) in [(Service::Agreement, AGREEMENT), (Service::Records, RECORDS)] {
            let sent = [b"PRI * HTTP/2.0".as_slice(), path, b"more"].concat();
            for size in 1..=sent.len() {
                let mut recogniser = Recogniser::default();
                let known = sent.chunks(size).filter_map(|chunk| recogniser.see(chunk));
                assert_eq!(known.last(), Some(service), "{size} bytes at a time");
            }
            let mut recogniser = Recogniser::default();
            assert_eq!(recogniser.see(&path[..path.len() - 1]), None);
        }
    }
}
