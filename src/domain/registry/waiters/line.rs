//! The waiting requests in the order in which they came, with running counts, so that none has to be made by going through
//! all of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::super::super::ids::ClientId;
use super::super::super::time::Moment;
use super::super::search::Own;
use super::super::{Ask, WaiterId};

/// What a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// A verdict, which comes by itself and soon: such waiters take no parking place.
    Verdict,
    /// An endpoint that may serve the request.
    Parked,
}

/// What a look has found for a waiting request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finds {
    /// A held endpoint. Another may become free before that verdict is in, at an unknown time.
    Held,
    /// Its session's own endpoint, which is in a short cooldown.
    ItsOwn,
    /// No free or held endpoint.
    Nobody,
}

/// How a request waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) why: Why,
    /// What the latest look found.
    pub(super) finds: Finds,
    /// Its session's own endpoint at that look.
    pub(super) own: Option<Own>,
    /// When it has to be looked at even if nothing else happens.
    pub(super) wake: Moment,
}

/// A request that waits.
#[derive(Clone, Debug)]
pub(super) struct Waiter {
    pub(super) id: WaiterId,
    pub(super) ask: Ask,
    pub(super) since: Moment,
    pub(super) wait: Wait,
}

impl Waiter {
    pub(super) fn is_parked(&self) -> bool {
        self.wait.why == Why::Parked
    }
}

/// Counts of the waiting requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Counts {
    parked: usize,
    /// How many requests of each client are parked; no entry for none.
    of_each: BTreeMap<Option<ClientId>, usize>,
    /// The moments at which waiters have to be looked at, and how many at each.
    wakes: BTreeMap<Moment, usize>,
}

impl Counts {
    fn came(&mut self, waiter: &Waiter) {
        if waiter.is_parked() {
            self.parked += 1;
            match self.of_each.get_mut(&waiter.ask.client) {
                Some(parked) => *parked += 1,
                None => drop(self.of_each.insert(waiter.ask.client.clone(), 1)),
            }
        }
        *self.wakes.entry(waiter.wait.wake).or_default() += 1;
    }

    fn left(&mut self, waiter: &Waiter) {
        if waiter.is_parked() {
            self.parked -= 1;
            one_less(&mut self.of_each, &waiter.ask.client);
        }
        one_less(&mut self.wakes, &waiter.wait.wake);
    }
}

fn one_less<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// All waiting requests, first come first served.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Waiters {
    queue: VecDeque<Waiter>,
    newest: u64,
    counts: Counts,
    /// How often a waiter was looked at again.
    #[cfg(test)]
    pub(super) looks: usize,
}

impl Waiters {
    pub(in super::super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(in super::super) fn parked(&self) -> usize {
        self.counts.parked
    }

    /// How many requests of this request's client are parked.
    pub(super) fn parked_of_its_client(&self, ask: &Ask) -> usize {
        self.counts.of_each.get(&ask.client).copied().unwrap_or_default()
    }

    /// When the first waiter has to be looked at.
    pub(super) fn next_wake(&self) -> Option<Moment> {
        self.counts.wakes.first_key_value().map(|(wake, _)| *wake)
    }

    #[cfg(test)]
    pub(in super::super) fn looks(&self) -> usize {
        self.looks
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Waiter> {
        self.queue.iter()
    }

    /// Adds a request that begins to wait.
    pub(super) fn begin(&mut self, ask: Ask, since: Moment, wait: Wait) -> WaiterId {
        self.newest += 1;
        let id = WaiterId(self.newest);
        self.join(Waiter { id, ask, since, wait });
        id
    }

    /// Puts a waiter at the back of the queue.
    pub(super) fn join(&mut self, waiter: Waiter) {
        self.counts.came(&waiter);
        self.queue.push_back(waiter);
    }

    /// The waiter at the front of the queue.
    pub(super) fn front(&self) -> Option<&Waiter> {
        self.queue.front()
    }

    /// Takes out the waiter at the front.
    pub(super) fn pop_front(&mut self) -> Option<Waiter> {
        let waiter = self.queue.pop_front()?;
        self.counts.left(&waiter);
        Some(waiter)
    }

    /// Moves the waiter at the front to the back, unchanged.
    pub(super) fn pass(&mut self) {
        if let Some(waiter) = self.queue.pop_front() {
            self.queue.push_back(waiter);
        }
    }

    /// Takes out this waiter, wherever it is.
    pub(super) fn take(&mut self, id: WaiterId) -> Option<Waiter> {
        let index = self.queue.iter().position(|waiter| waiter.id == id)?;
        let waiter = self.queue.remove(index)?;
        self.counts.left(&waiter);
        Some(waiter)
    }

    /// Takes out these waiters.
    pub(super) fn leave(&mut self, gone: &BTreeSet<WaiterId>) {
        self.take_those(|waiter| gone.contains(&waiter.id));
    }

    /// Takes out all parked waiters and returns their ids, in the order in which they came.
    pub(super) fn take_parked(&mut self) -> Vec<WaiterId> {
        self.take_those(Waiter::is_parked)
    }

    fn take_those(&mut self, are_meant: impl Fn(&Waiter) -> bool) -> Vec<WaiterId> {
        let Self { queue, counts, .. } = self;
        let mut taken = Vec::new();
        queue.retain(|waiter| {
            let stays = !are_meant(waiter);
            if !stays {
                counts.left(waiter);
                taken.push(waiter.id);
            }
            stays
        });
        taken
    }

    /// Takes out all waiters, for a caller that puts them back.
    pub(super) fn take_all(&mut self) -> VecDeque<Waiter> {
        self.counts = Counts::default();
        std::mem::take(&mut self.queue)
    }

    /// Whether the running counts are right.
    pub(in super::super) fn counts_match(&self) -> bool {
        let mut counted = Counts::default();
        self.queue.iter().for_each(|waiter| counted.came(waiter));
        counted == self.counts
    }
}
