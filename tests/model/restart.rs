//! A process that ends at any moment and begins anew with what it had kept.

use std::sync::Arc;
use std::time::Duration;

use qcc_gateway::domain::breaker::BreakerBank;
use qcc_gateway::domain::memory::{Almanac, Image, Memory};
use qcc_gateway::domain::queues::Standing;
use qcc_gateway::domain::registry::{EndpointView, Outputs, RegistryCore, RegistryView};
use qcc_gateway::domain::schedule::Schedule;
use qcc_gateway::domain::time::Moment;
use qcc_gateway::domain::topology::Topology;

use super::counts::Counts;
use super::effects::Followed;
use super::policies;
use super::world::World;

/// When the process of the simulation began, and when the next one does.
const BEGAN: Almanac = Almanac { zero: Duration::from_secs(1_000_000) };
const BEGINS_AGAIN: Almanac = Almanac { zero: Duration::from_secs(900_000) };

/// What the disk has.
#[derive(Default)]
pub(crate) struct Disk {
    image: Image,
    /// What it had before that, for the case that the last one is damaged.
    previous: Image,
    /// Something has changed since that may wait for a second or so.
    is_behind: bool,
}

impl World {
    /// What outlives a restart is written.
    pub(crate) fn write_image(&mut self) {
        let previous = std::mem::take(&mut self.disk.image);
        self.disk = Disk { image: self.core.image(&BEGAN, self.now), previous, is_behind: false };
    }

    /// Something of it has changed that may wait.
    pub(crate) fn disk_is_behind(&mut self) {
        self.disk.is_behind = true;
    }

    /// What may wait has waited long enough.
    pub(crate) fn catch_up(&mut self) {
        if self.disk.is_behind {
            self.write_image();
        }
    }

    /// Who is isolated and what admins have switched is on the disk at every moment, for nobody hears of it before.
    pub(crate) fn check_disk(&self, present: &RegistryView) {
        let image = &self.disk.image;
        let kept = image.endpoints.iter().map(|kept| {
            let isolation = kept.isolation.as_ref().map(|isolation| (isolation.reason, isolation.at));
            (&kept.id, isolation)
        });
        let is = present.endpoints.iter().map(|view| {
            let isolation = view.isolation.as_ref().map(|isolation| (isolation.reason, BEGAN.time_of(isolation.at)));
            (&view.endpoint.id, isolation)
        });
        assert!(kept.eq(is), "the disk has {:?}", image.endpoints);
        self.shadow.compare_kept(image);
    }

    /// Were the process to end now, the next one would isolate whoever is isolated, leave switched off whoever is, and give
    /// the same reasons; and it would keep the same of it as this one.
    pub(crate) fn check_restart(&self, before: &RegistryView) {
        let image = read_back(&self.disk.image);
        // It begins at the same time of day.
        let now = BEGINS_AGAIN.moment_of(BEGAN.time_of(self.now));
        let next = self.next_process(Memory::Kept(Box::new(image)), &BEGINS_AGAIN, now, &mut Outputs::new());
        let after = next.view(now);
        assert_eq!(before.endpoints.len(), after.endpoints.len());
        for (before, after) in before.endpoints.iter().zip(&after.endpoints) {
            assert_eq!(place(before), place(after), "of {}", before.endpoint.id);
            let rests = |view: &EndpointView| {
                let cooldowns = view.cooldowns.iter().map(|rest| (rest.model.clone(), rest.exhausted));
                (view.slow_start, cooldowns.collect::<Vec<_>>(), view.proven)
            };
            let may_differ = self.disk.is_behind;
            assert!(
                may_differ || rests(before) == rests(after),
                "slow start, cooldowns and whether it has worked, of {}",
                before.endpoint.id
            );
        }
        if !self.disk.is_behind {
            let same = read_back(&self.core.image(&BEGAN, self.now));
            assert_eq!(next.image(&BEGINS_AGAIN, now), same, "what the next one keeps");
        }
        // Were the last image damaged, nobody would get traffic by the one before it without having proved itself.
        let outdated = Memory::Outdated(Box::new(read_back(&self.disk.previous)));
        let next = self.next_process(outdated, &BEGINS_AGAIN, now, &mut Outputs::new());
        assert!(next.view(now).endpoints.iter().all(|view| view.isolation.is_some()), "of an image that is outdated");
    }

    fn next_process(&self, memory: Memory, almanac: &Almanac, now: Moment, out: &mut Outputs) -> RegistryCore {
        let mut next = RegistryCore::new(self.policy);
        next.remember(memory, almanac, now);
        next.apply(Arc::new(Topology::new(self.settings.values().cloned())), now, out);
        next
    }

    /// The process ends, with everything that was under way in it, and the next one goes on from what is on the disk. Nothing
    /// of the last one arrives any more.
    pub(crate) fn restart(&mut self) {
        self.catch_up();
        self.trace.note("the process ends, and begins again");
        self.began = self.now;
        let isolated = self.shadow.isolated();
        let mut effects = Outputs::new();
        let image = read_back(&self.disk.image);
        self.core = self.next_process(Memory::Kept(Box::new(image)), &BEGAN, self.now, &mut effects);
        self.shadow.restart(|moment| BEGAN.moment_of(read_back(&BEGAN.time_of(moment))), self.now);
        self.bank = BreakerBank::default();
        self.counts = Counts::default();
        self.schedule = Schedule::new(policies::schedule(&mut self.rng));
        self.outages.clear();
        self.left.clear();
        self.talks.clear();
        self.hung.clear();
        self.conversed.clear();
        self.passed.clear();
        self.journeys.clear();
        self.waiting.clear();
        self.awaiting_verdict.clear();
        self.isolating.clear();
        self.leases.clear();
        self.stuck.clear();
        self.past.clear();
        self.failed.clear();
        self.to_breakers.clear();
        self.resets.clear();
        self.verdicts.clear();
        self.to_verifier.clear();
        self.proofs.clear();
        self.news.clear();
        self.old_news.clear();
        self.kept_proofs.clear();
        assert_eq!(self.carry_out(effects, 1), Followed::default());
        if !isolated.is_empty() {
            self.trace.met("a restart while some are isolated");
        }
        assert_eq!(self.shadow.isolated(), isolated, "who is isolated after a restart");
    }
}

/// What is read of it from a file.
fn read_back<T: serde::Serialize + serde::de::DeserializeOwned>(written: &T) -> T {
    serde_json::from_str(&serde_json::to_string(written).unwrap()).unwrap()
}

/// Where an endpoint is, and what for.
fn place(view: &EndpointView) -> (Standing, Option<String>) {
    let isolation = view.isolation.as_ref().map(|isolation| format!("{} {:?}", isolation.reason, isolation.model));
    (view.standing, isolation)
}
