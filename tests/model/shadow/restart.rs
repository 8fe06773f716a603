//! What must outlive a restart, and all that must not.

use std::collections::{BTreeMap, BTreeSet};

use qcc_gateway::domain::ids::{EndpointId, Epoch};
use qcc_gateway::domain::memory::Image;
use qcc_gateway::domain::time::Moment;

use super::opinions::Opinions;
use super::plain::{Place, Quarantine};
use super::{Shadow, Told};

impl Shadow {
    /// Holds what admins have switched, and who has left while it was isolated, against what the disk has of it.
    pub(crate) fn compare_kept(&self, image: &Image) {
        assert!(image.switched_off.iter().eq(&self.switched_off), "switched off by an admin");
        assert!(image.switched_on.iter().eq(&self.switched_on), "switched on by an admin");
        let mut departed: BTreeMap<&EndpointId, usize> = BTreeMap::new();
        for kept in &image.departed {
            *departed.entry(&kept.id).or_default() += 1;
        }
        let expected = self.departed.iter().filter(|(_, past)| !past.is_empty()).map(|(id, past)| (id, past.len()));
        assert!(departed.into_iter().eq(expected), "who has left while it was isolated");
    }

    /// Whether these are all that are in the settings, or have left them while they were isolated.
    pub(crate) fn is_known(&self, known: &BTreeSet<EndpointId>) -> bool {
        let departed = self.departed.iter().filter(|(_, past)| !past.is_empty()).map(|(id, _)| id);
        known.iter().eq(self.endpoints.keys().chain(departed).collect::<BTreeSet<_>>())
    }

    /// The process has ended and begun again. `kept` is what becomes of a moment that is written down.
    pub(crate) fn restart(&mut self, kept: impl Fn(Moment) -> Moment, now: Moment) {
        let isolation = |quarantine: &mut Quarantine| {
            quarantine.since = kept(quarantine.since);
            // No attempt of before can end any more, so that nobody doubts what ended then.
            quarantine.ended = Epoch::NONE;
            quarantine.redefined |= quarantine.doubted;
            quarantine.doubted = false;
        };
        let told = std::mem::take(&mut self.told);
        for (id, plain) in &mut self.endpoints {
            // When it is verified next is known where its isolation goes on; that it is fit is news that is over.
            if plain.isolated().is_some()
                && let Some(told) = told.get(id).filter(|told| plain.is_in(told.epoch))
            {
                let told = Told { epoch: Epoch::NONE, began: Moment::START, next: kept(told.next) };
                self.told.insert(id.clone(), told);
            }
            plain.recovered = match plain.place {
                Place::Home => plain.recovered.filter(|(at, _)| now.since(*at) < self.policy.slow_start),
                Place::Isolated(_) | Place::Off { .. } => None,
            };
            if let Some((at, from)) = &mut plain.recovered {
                *at = kept(*at);
                isolation(from);
            }
            if let Some(quarantine) = plain.quarantine_mut() {
                isolation(quarantine);
            }
            (plain.epoch, plain.moved) = (Epoch::NONE, true);
            plain.holds.clear();
        }
        for (_, quarantine) in self.departed.values_mut().flatten() {
            isolation(quarantine);
        }
        for rests in self.rests.values_mut() {
            rests.restart(&kept, now);
        }
        self.open.clear();
        self.awaited.clear();
        self.newest_epoch = Epoch::NONE;
        self.opinions = Opinions::default();
        self.sessions.clear();
        self.latest_models.clear();
        self.hastened = BTreeSet::new();
        self.waiters.clear();
        self.parked_before = 0;
        self.turns.clear();
        self.stopping = false;
    }
}
