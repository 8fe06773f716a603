//! Who was counted and has left the settings: kept for a while, and not for ever.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// For at most this many that have left the settings the counts are kept, oldest dropped first: names may come and go
/// without end, as where somebody makes new ones every day.
pub(super) const MAX_DEPARTED: usize = 500;

/// The names that have left, in the order in which they did.
#[derive(Clone, Debug)]
pub(super) struct Departures<K>(Arc<VecDeque<K>>);

impl<K> Default for Departures<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Clone + Ord> Departures<K> {
    /// Notes which names have left, and returns those whose counts are to be forgotten. `counted` are all that have
    /// counts; `is_there` tells which are in the settings.
    pub(super) fn update<'a>(
        &mut self,
        counted: impl Iterator<Item = &'a K>,
        is_there: impl Fn(&K) -> bool,
    ) -> BTreeSet<K>
    where
        K: 'a,
    {
        let gone: BTreeSet<&K> = counted.filter(|key| !is_there(key)).collect();
        let mut departed: VecDeque<K> = self.0.iter().filter(|key| gone.contains(key)).cloned().collect();
        let known: BTreeSet<K> = departed.iter().cloned().collect();
        departed.extend(gone.into_iter().filter(|key| !known.contains(key)).cloned());
        let forgotten = departed.drain(..departed.len().saturating_sub(MAX_DEPARTED)).collect();
        self.0 = Arc::new(departed);
        forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(departures: &mut Departures<usize>, counted: &[usize], is_there: impl Fn(&usize) -> bool) -> Vec<usize> {
        departures.update(counted.iter(), is_there).into_iter().collect()
    }

    #[test]
    fn the_latest_to_leave_are_kept_and_who_comes_back_has_not_left() {
        let all: Vec<usize> = (0..MAX_DEPARTED + 2).collect();
        let mut departures = Departures::default();
        assert!(update(&mut departures, &all, |key| *key != 7).is_empty());
        assert_eq!(update(&mut departures, &all, |key| *key > MAX_DEPARTED), [7], "it was the first to leave");
        let left: Vec<usize> = all.into_iter().filter(|key| *key != 7).collect();
        assert!(update(&mut departures, &left, |key| *key == 0 || *key > MAX_DEPARTED).is_empty());
        assert_eq!(update(&mut departures, &left, |_| false), [1], "0 had come back meanwhile");
    }
}
