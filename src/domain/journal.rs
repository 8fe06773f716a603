//! What the registry did, in order, for checks afterwards: leases and moves in one list.

use std::collections::VecDeque;

use super::ids::{EndpointId, Epoch};
use super::queues::Standing;

/// One entry of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// An endpoint has this standing from now on.
    Moved {
        /// Which endpoint.
        endpoint: EndpointId,
        /// Its new epoch.
        epoch: Epoch,
        /// Its new standing.
        standing: Standing,
    },
    /// An endpoint left the settings.
    Removed {
        /// Which endpoint.
        endpoint: EndpointId,
    },
    /// A lease on an endpoint was granted.
    Leased {
        /// Which endpoint.
        endpoint: EndpointId,
        /// The epoch that the lease carries.
        epoch: Epoch,
    },
}

/// The latest entries.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    kept: VecDeque<Entry>,
    capacity: usize,
}

impl Journal {
    /// A journal of the latest `capacity` entries; with 0 it keeps nothing.
    pub fn new(capacity: usize) -> Self {
        Self { kept: VecDeque::new(), capacity }
    }

    /// Whether anything is kept at all.
    pub fn is_kept(&self) -> bool {
        self.capacity > 0
    }

    pub(super) fn push(&mut self, entry: Entry) {
        if self.capacity == 0 {
            return;
        }
        if self.kept.len() == self.capacity {
            self.kept.pop_front();
        }
        self.kept.push_back(entry);
    }

    /// The kept entries, oldest first.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.kept.iter()
    }
}
