//! Connections for calls that are answered one by one: one to each member, made when it is first needed.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tonic::transport::Channel;

use super::dial::channel;

/// One connection to each of those who are called.
#[derive(Debug)]
pub struct Lines<K> {
    lines: Mutex<BTreeMap<K, (String, Channel)>>,
}

impl<K> Default for Lines<K> {
    fn default() -> Self {
        let lines = Mutex::default();
        Lines { lines }
    }
}

impl<K: Ord> Lines<K> {
    /// The connection to whoever is at this address now, `host:port`. `None`: it is no address.
    pub fn to(&self, who: K, address: &str) -> Option<Channel> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, line)) = lines.get(&who).filter(|(there, _)| there == address) {
            return Some(line.clone());
        }
        let line = channel(address)?;
        lines.insert(who, (address.to_owned(), line.clone()));
        Some(line)
    }
}
