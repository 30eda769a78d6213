//! Memory that requests may take: a total, and at most half of it for one client.
//!
//! Who is about to keep something of a request in memory first asks for its bytes; what does not fit is refused at once
//! instead of queueing without end. The bytes are given back when the [`Held`] that stands for them is dropped.
//!
//! **Invariant.** What [`Held::grow`] has let in is never more than the total, nor more than half of it for one client.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The bytes that all clients together may hold. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Budget {
    total: Arc<Meter>,
    clients: Arc<Mutex<HashMap<IpAddr, Weak<Meter>>>>,
}

#[derive(Debug)]
struct Meter {
    used: AtomicU64,
    max: u64,
}

/// One client's part of a budget. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Account {
    client: Arc<Meter>,
    total: Arc<Meter>,
}

/// Bytes that are in use; given back when dropped.
#[derive(Debug)]
pub struct Held {
    account: Account,
    bytes: u64,
}

/// The bytes asked for do not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("requests of {used} bytes are under way, the limit is {max}")]
pub struct Full {
    /// Bytes in use, by this client or by all.
    pub used: u64,
    /// How many may be.
    pub max: u64,
}

impl Budget {
    /// A budget of `max` bytes, of which nothing is in use.
    #[must_use]
    pub fn new(max: u64) -> Budget {
        Budget {
            total: Arc::new(Meter::new(max)),
            clients: Arc::default(),
        }
    }

    /// The account of the client at this address. All its connections share it.
    #[must_use]
    pub fn account(&self, client: IpAddr) -> Account {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let known = clients.get(&client).and_then(Weak::upgrade);
        let meter = known.unwrap_or_else(|| {
            clients.retain(|_, meter| meter.strong_count() > 0);
            let meter = Arc::new(Meter::new(self.total.max / 2));
            clients.insert(client, Arc::downgrade(&meter));
            meter
        });
        Account {
            client: meter,
            total: Arc::clone(&self.total),
        }
    }

    /// Bytes in use.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.total.used.load(Ordering::Acquire)
    }
}

impl Account {
    /// Nothing yet, to [grow](Held::grow).
    #[must_use]
    pub fn hold(&self) -> Held {
        Held {
            account: self.clone(),
            bytes: 0,
        }
    }

    /// Counts bytes that are in memory already and cannot be refused any more.
    #[must_use]
    pub fn count(&self, bytes: usize) -> Held {
        let bytes = count(bytes);
        self.client.used.fetch_add(bytes, Ordering::AcqRel);
        self.total.used.fetch_add(bytes, Ordering::AcqRel);
        Held {
            account: self.clone(),
            bytes,
        }
    }
}

impl Held {
    /// Holds `bytes` more.
    ///
    /// # Errors
    /// If they do not fit; what is held stays as it is.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Full> {
        let bytes = count(bytes);
        self.account.client.add(bytes)?;
        if let Err(full) = self.account.total.add(bytes) {
            self.account.client.give_back(bytes);
            return Err(full);
        }
        self.bytes += bytes;
        Ok(())
    }

    /// Nothing yet, of the same account.
    #[must_use]
    pub fn another(&self) -> Held {
        self.account.hold()
    }

    /// Bytes of the same account that are in memory already and cannot be refused any more.
    #[must_use]
    pub fn count(&self, bytes: usize) -> Held {
        self.account.count(bytes)
    }

    /// All that is held so far; nothing is left here.
    #[must_use]
    pub fn take(&mut self) -> Held {
        let rest = self.another();
        std::mem::replace(self, rest)
    }

    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.account.client.give_back(self.bytes);
        self.account.total.give_back(self.bytes);
    }
}

impl Meter {
    fn new(max: u64) -> Meter {
        Meter {
            used: AtomicU64::new(0),
            max,
        }
    }

    fn add(&self, bytes: u64) -> Result<(), Full> {
        let room = |used: u64| used.checked_add(bytes).filter(|used| *used <= self.max);
        let added = self
            .used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, room);
        added.map(drop).map_err(|used| Full {
            used,
            max: self.max,
        })
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::AcqRel);
    }
}

fn count(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(last: u8) -> IpAddr {
        IpAddr::from([127, 0, 0, last])
    }

    #[test]
    fn what_does_not_fit_is_refused_until_something_is_given_back() {
        let budget = Budget::new(100);
        let (mut one, mut two, mut three) = (
            budget.account(client(1)).hold(),
            budget.account(client(2)).hold(),
            budget.account(client(3)).hold(),
        );
        one.grow(50).unwrap();
        two.grow(40).unwrap();
        assert_eq!(three.grow(11), Err(Full { used: 90, max: 100 }));
        assert_eq!(budget.used(), 90);
        drop(one);
        three.grow(11).unwrap();
        assert_eq!(budget.used(), 51);
    }

    #[test]
    fn one_client_gets_half_over_all_its_connections() {
        let budget = Budget::new(100);
        let (mut one, mut other) = (
            budget.account(client(1)).hold(),
            budget.account(client(1)).hold(),
        );
        one.grow(30).unwrap();
        assert_eq!(other.grow(21), Err(Full { used: 30, max: 50 }));
        other.grow(20).unwrap();
        budget.account(client(2)).hold().grow(50).unwrap();
    }

    #[test]
    fn a_refused_growth_leaves_nothing_behind() {
        let budget = Budget::new(100);
        let mut first = budget.account(client(1)).hold();
        let mut second = budget.account(client(2)).hold();
        let mut third = budget.account(client(3)).hold();
        first.grow(50).unwrap();
        second.grow(45).unwrap();
        for _ in 0..10 {
            third.grow(10).unwrap_err();
        }
        drop((first, second));
        third.grow(50).unwrap();
        third.grow(1).unwrap_err();
    }

    #[test]
    fn what_is_taken_is_given_back_by_who_took_it() {
        let budget = Budget::new(100);
        let mut arriving = budget.account(client(1)).hold();
        arriving.grow(20).unwrap();
        let taken = arriving.take();
        arriving.grow(5).unwrap();
        assert_eq!((taken.bytes(), arriving.bytes()), (20, 5));
        drop(taken);
        assert_eq!(budget.used(), 5);
    }

    #[test]
    fn what_is_there_already_is_counted_beyond_the_limit() {
        let budget = Budget::new(100);
        let account = budget.account(client(1));
        let there = account.count(150);
        account.hold().grow(1).unwrap_err();
        drop(there);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn clients_that_are_gone_are_forgotten() {
        let budget = Budget::new(100);
        for last in 0..200 {
            drop(budget.account(client(last)));
        }
        assert!(budget.clients.lock().unwrap().len() <= 1);
    }
}
