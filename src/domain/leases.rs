//! Attempts under way: each lease once, and how many each endpoint has.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

use super::ids::Serial;
use super::sessions::Origin;
use super::slots::{BySlot, Slot};
use super::time::Moment;

/// One lease that is granted and not yet settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenLease {
    /// The endpoint's slot.
    pub slot: Slot,
    /// When it was granted.
    pub since: Moment,
    /// The session or request that it is for.
    pub origin: Origin,
}

/// Hashes serials. They are our own and unique, so that nobody can choose them to collide.
#[derive(Clone, Copy, Debug, Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // An odd number without a pattern in its bits: the high bits of the product depend on all bits of the serial.
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// The leases that are granted and not yet settled.
#[derive(Clone, Debug, Default)]
pub struct Leases {
    open: HashMap<Serial, OpenLease, BuildHasherDefault<Spread>>,
    in_flight: BySlot<u32>,
    newest: Serial,
}

impl Leases {
    /// Opens a lease, and gives it a number of its own.
    pub fn open(&mut self, lease: OpenLease) -> Serial {
        self.newest = self.newest.next();
        match self.in_flight.get_mut(lease.slot) {
            Some(count) => *count += 1,
            None => drop(self.in_flight.insert(lease.slot, 1)),
        }
        self.open.insert(self.newest, lease);
        self.newest
    }

    /// Closes a lease. `None` if it is closed already, or was never open.
    pub fn close(&mut self, serial: Serial) -> Option<OpenLease> {
        let lease = self.open.remove(&serial)?;
        if let Some(count) = self.in_flight.get_mut(lease.slot) {
            *count = count.saturating_sub(1);
        }
        Some(lease)
    }

    /// How many leases on this endpoint are open.
    pub fn in_flight(&self, slot: Slot) -> u32 {
        self.in_flight.get(slot).copied().unwrap_or_default()
    }

    /// How many leases are open in all.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether no lease is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether the counts match the open leases.
    pub fn counts_match(&self) -> bool {
        let mut counted: BTreeMap<Slot, u32> = BTreeMap::new();
        for lease in self.open.values() {
            *counted.entry(lease.slot).or_default() += 1;
        }
        self.in_flight.iter().all(|(slot, count)| counted.get(&slot).copied().unwrap_or_default() == *count)
            && counted.keys().all(|slot| self.in_flight.get(*slot).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_closed_once_and_counts_until_then() {
        let mut leases = Leases::default();
        let slot = Slot::from_raw(3);
        let lease = OpenLease { slot, since: Moment::START, origin: Origin::Request(1) };
        let [first, second] = [lease; 2].map(|lease| leases.open(lease));
        assert_ne!(first, second);
        assert_eq!((leases.in_flight(slot), leases.len()), (2, 2));
        assert_eq!(leases.close(first), Some(lease));
        assert_eq!(leases.close(first), None);
        assert_eq!(leases.in_flight(slot), 1);
        assert!(leases.counts_match() && !leases.is_empty());
        assert_eq!(leases.close(second), Some(lease));
        assert!(leases.is_empty());
    }

    #[test]
    fn serials_that_follow_each_other_are_spread_over_the_high_and_the_low_bits() {
        let hash = |number| {
            let mut spread = Spread::default();
            spread.write_u64(number);
            spread.finish()
        };
        let distinct = |part: fn(u64) -> u64| (1..=128).map(hash).map(part).collect::<std::collections::BTreeSet<_>>();
        assert_eq!(distinct(|hash| hash & 0x7f).len(), 128);
        assert!(distinct(|hash| hash >> 57).len() > 100);
    }
}
