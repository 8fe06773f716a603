//! A profile's endpoints, in the order in which they are used.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::super::endpoint::{Home, Protocol};
use super::super::ids::ProfileId;
use super::super::queues::{Member, Queues};
use super::super::slots::Slot;
use super::lanes::{Lane, Lanes};

/// For how many models the lanes that serve them are remembered; bounded because clients choose the names.
const MAX_KNOWN: usize = 256;
/// The longest model name that is remembered, in bytes.
const LONGEST_KNOWN: usize = 100;

/// A profile's endpoints of the same queue and priority.
#[derive(Clone, Debug)]
pub(super) struct Rank {
    pub(super) home: Home,
    pub(super) priority: u8,
    /// In the order of their ids.
    pub(super) endpoints: Vec<Slot>,
    /// The lanes of these endpoints.
    pub(super) lanes: Vec<usize>,
}

/// A profile's ranks in the order in which they are used.
#[derive(Clone, Debug, Default)]
pub(super) struct Pool {
    pub(super) ranks: Vec<Rank>,
    /// How many are isolated.
    pub(super) isolated: usize,
    /// How many isolated endpoints the latest [`Effect::Filtered`](super::Effect::Filtered) reported.
    pub(super) reported_excluded: usize,
    /// The protocols last reported to have nothing usable.
    pub(super) lacks: BTreeSet<Protocol>,
    /// Whether any endpoint serves some models only.
    has_filters: bool,
    /// For each remembered model, the lanes that serve it, by rank.
    known: HashMap<Arc<str>, Vec<Vec<usize>>>,
}

/// The lanes of a rank that a request may look at.
#[derive(Clone, Copy, Debug)]
pub(super) enum Served<'a> {
    /// These are known to serve its model.
    Known(&'a [usize]),
    /// Each has to be checked.
    Unknown(&'a [usize]),
}

impl Pool {
    pub(super) fn members<'a>(&'a self, queues: &'a Queues) -> impl Iterator<Item = &'a Member> {
        self.ranks.iter().flat_map(|rank| &rank.endpoints).filter_map(|slot| queues.at(*slot))
    }

    /// Sorts a profile's endpoints into ranks: primaries before secondaries, lower priority first, then by id.
    pub(super) fn new(profile: &ProfileId, queues: &Queues, lanes: &Lanes) -> Self {
        let mut ranks: BTreeMap<(Home, u8), Vec<Slot>> = BTreeMap::new();
        let mut has_filters = false;
        for member in queues.iter().filter(|member| member.endpoint().in_profile(profile)) {
            let endpoint = member.endpoint();
            has_filters |= !endpoint.models.patterns().is_empty();
            ranks.entry((endpoint.home, endpoint.priority)).or_default().push(member.slot());
        }
        let ranks = ranks
            .into_iter()
            .map(|((home, priority), endpoints)| Rank {
                home,
                priority,
                endpoints,
                lanes: lanes.of_rank(profile, home, priority),
            })
            .collect();
        Self { ranks, has_filters, ..Self::default() }
    }

    /// Remembers which lanes serve a model, until the endpoints change.
    pub(super) fn learn(&mut self, model: Option<&Arc<str>>, lanes: &Lanes) {
        let Some(model) = model.filter(|model| self.has_filters && model.len() <= LONGEST_KNOWN) else { return };
        if self.known.contains_key(model) {
            return;
        }
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        self.known.insert(Arc::clone(model), self.serving(model, lanes));
    }

    fn serving(&self, model: &str, lanes: &Lanes) -> Vec<Vec<usize>> {
        let serves = |lane: &Lane| lane.serves(Some(model));
        let of_rank =
            |rank: &Rank| rank.lanes.iter().copied().filter(|lane| lanes.get(*lane).is_some_and(serves)).collect();
        self.ranks.iter().map(of_rank).collect()
    }

    /// The lanes of each rank that a request for this model may look at.
    pub(super) fn served(&self, model: Option<&str>) -> impl Iterator<Item = (&Rank, Served<'_>)> {
        let known = model.filter(|_| self.has_filters).and_then(|model| self.known.get(model));
        let mut known = known.map(|known| known.iter());
        self.ranks.iter().map(move |rank| match known.as_mut().and_then(Iterator::next) {
            Some(lanes) => (rank, Served::Known(lanes)),
            None => (rank, Served::Unknown(&rank.lanes)),
        })
    }

    /// Whether a lane serves this model; `None` if that is not remembered.
    pub(super) fn knows(&self, model: &str, lane: usize) -> Option<bool> {
        Some(self.known.get(model)?.iter().any(|lanes| lanes.contains(&lane)))
    }

    /// Whether what is remembered is true.
    pub(super) fn knows_the_truth(&self, lanes: &Lanes) -> bool {
        self.known.iter().all(|(model, kept)| *kept == self.serving(model, lanes))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::endpoint::{Endpoint, ModelFilter};
    use super::super::super::testing::endpoint;
    use super::super::super::topology::Topology;
    use super::*;

    /// The pool of an endpoint that serves these models.
    fn serving(models: &[&str]) -> (Pool, Lanes) {
        let models = ModelFilter::new(&models.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        let mut queues = Queues::default();
        queues.apply(Arc::new(Topology::new([Endpoint { models, ..endpoint("a", Home::Primary) }])));
        let lanes = Lanes::new(&queues);
        (Pool::new(&ProfileId::default(), &queues, &lanes), lanes)
    }

    fn known(pool: &mut Pool, lanes: &Lanes, model: &str) -> Option<bool> {
        pool.learn(Some(&Arc::from(model)), lanes);
        pool.knows(model, 0)
    }

    #[test]
    fn who_serves_a_model_is_kept_for_the_names_that_have_room() {
        let (mut pool, lanes) = serving(&["opus-*"]);
        assert_eq!(["opus-4", "haiku"].map(|model| known(&mut pool, &lanes, model)), [Some(true), Some(false)]);
        let longest = "m".repeat(LONGEST_KNOWN);
        assert_eq!(known(&mut pool, &lanes, &longest), Some(false));
        assert_eq!(known(&mut pool, &lanes, &format!("{longest}m")), None);
        assert_eq!(pool.known.len(), 3);
        for number in 0..1000 {
            assert_eq!(known(&mut pool, &lanes, &format!("m{number}")), Some(false));
            assert!(pool.known.len() <= MAX_KNOWN, "clients choose the names");
        }
    }

    #[test]
    fn nothing_is_kept_where_every_model_is_served() {
        let (mut pool, lanes) = serving(&[]);
        assert_eq!(known(&mut pool, &lanes, "opus-4"), None);
    }
}
