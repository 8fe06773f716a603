//! Attempts under way: each lease once, and how many each endpoint has.

use std::collections::{BTreeMap, HashMap};

use super::ids::{EndpointId, Serial, Ticket};
use super::sessions::Origin;
use super::time::Moment;

/// One lease that is granted and not yet settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenLease {
    /// What its report will carry.
    pub ticket: Ticket,
    /// When it was granted.
    pub since: Moment,
    /// For whose request.
    pub origin: Origin,
}

/// The leases that are granted and not yet settled.
#[derive(Debug, Default)]
pub struct Leases {
    open: HashMap<Serial, OpenLease>,
    in_flight: BTreeMap<EndpointId, u32>,
    newest: Serial,
}

impl Leases {
    /// Opens a lease with a number of its own.
    pub fn open(&mut self, origin: Origin, since: Moment, issue: impl FnOnce(Serial) -> Ticket) -> Ticket {
        self.newest = self.newest.next();
        let ticket = issue(self.newest);
        *self.in_flight.entry(ticket.endpoint.clone()).or_default() += 1;
        self.open.insert(ticket.serial, OpenLease { ticket: ticket.clone(), since, origin });
        ticket
    }

    /// Closes a lease; `None` where it is closed already, or was never open.
    pub fn close(&mut self, serial: Serial) -> Option<OpenLease> {
        let lease = self.open.remove(&serial)?;
        if let Some(count) = self.in_flight.get_mut(&lease.ticket.endpoint) {
            *count = count.saturating_sub(1);
        }
        Some(lease)
    }

    /// How many leases on this endpoint are open.
    pub fn in_flight(&self, id: &EndpointId) -> u32 {
        self.in_flight.get(id).copied().unwrap_or_default()
    }

    /// How many leases are open in all.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether no lease is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether the counts equal the open leases.
    pub fn counts_are_true(&self) -> bool {
        let mut counted: BTreeMap<&EndpointId, u32> = BTreeMap::new();
        for lease in self.open.values() {
            *counted.entry(&lease.ticket.endpoint).or_default() += 1;
        }
        self.in_flight.iter().all(|(id, count)| counted.get(id).copied().unwrap_or_default() == *count)
            && counted.keys().all(|id| self.in_flight.contains_key(*id))
    }
}

#[cfg(test)]
mod tests {
    use super::super::ids::Epoch;
    use super::*;

    #[test]
    fn a_lease_is_closed_once_and_counts_until_then() {
        let mut leases = Leases::default();
        let endpoint = EndpointId::new("a").unwrap();
        let issue = |serial| Ticket { endpoint: endpoint.clone(), epoch: Epoch::NONE, serial };
        let origin = Origin::Request(1);
        let first = leases.open(origin, Moment::START, issue);
        let second = leases.open(origin, Moment::START, issue);
        assert_ne!(first.serial, second.serial);
        assert_eq!((leases.in_flight(&endpoint), leases.len()), (2, 2));
        assert_eq!(leases.close(first.serial).map(|lease| lease.ticket), Some(first.clone()));
        assert_eq!(leases.close(first.serial), None);
        assert_eq!(leases.in_flight(&endpoint), 1);
        assert!(leases.counts_are_true() && !leases.is_empty());
    }
}
