//! What outlives a restart: making an image of it, and restoring one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::cooling::Cooldown;
use super::super::ids::EndpointId;
use super::super::memory::{
    Almanac, Image, KeptCooldown, KeptDeparture, KeptEndpoint, KeptIsolation, KeptProgress, Memory, ServiceDigest,
};
use super::super::outcome::{ErrorNote, Reason};
use super::super::queues::{Departed, Fault, Isolation, Member, Switched, Was};
use super::super::schedule::{Resume, Suffices, Urgency, Verified};
use super::super::slots::Slot;
use super::super::time::Moment;
use super::{Effect, Keep, Outputs, RegistryCore};

/// What was known of one endpoint before the start, apart from its place.
#[derive(Clone, Debug)]
pub(super) struct KeptOfOne {
    service: ServiceDigest,
    progress: Resume,
    cooldowns: Vec<(Option<Arc<str>>, Cooldown)>,
    proven: bool,
}

/// What was known of all endpoints before the start.
pub(super) type Kept = BTreeMap<EndpointId, KeptOfOne>;

impl RegistryCore {
    /// Restores what is known from before the start. Must precede the first [`Self::apply`], which adds the endpoints.
    pub fn remember(&mut self, memory: Memory, almanac: &Almanac, now: Moment) {
        let (image, others) = match memory {
            Memory::Fresh(salt) => return self.queues.begin(salt, None),
            Memory::Lost(salt) => return self.queues.begin(salt, Some(everybody_is_isolated(now))),
            Memory::Kept(image) => (*image, None),
            Memory::Outdated(image) => (*image, Some(everybody_is_isolated(now))),
        };
        let Image { salt, made_at, endpoints, departed, switched_off, switched_on } = image;
        let made = almanac.moment_of(made_at);
        let mut places = BTreeMap::new();
        for KeptEndpoint { id, service, isolation, recovered_at, progress, cooldowns, proven } in endpoints {
            let recovered = recovered_at.map(|time| Was::Recovered(almanac.moment_of(time).min(now)));
            let was = isolation.map(|kept| Was::Isolated(revived(kept, almanac, now))).or(recovered);
            places.extend(was.map(|was| (id.clone(), (service, was))));
            // If the clock was set back, nothing is put off.
            let next = progress.next.map(|time| almanac.moment_of(time)).map(|next| next.min(now + next.since(made)));
            let since_isolation = next.map(|next| Verified { verifications: progress.verifications, next });
            let progress = Resume { step: progress.step, since_isolation };
            let cooldowns = cooldowns.into_iter().map(|kept| cooldown(kept, almanac, now)).collect();
            self.before.insert(id, KeptOfOne { service, progress, cooldowns, proven });
        }
        let gone = |KeptDeparture { id, service, isolation }: KeptDeparture| {
            (id, Departed { service, isolation: revived(isolation, almanac, now) })
        };
        let gone = departed.into_iter().map(gone).collect();
        let set = |ids: Vec<EndpointId>| ids.into_iter().collect::<BTreeSet<_>>();
        let switched = Switched { off: set(switched_off), on: set(switched_on) };
        self.queues.remember(salt, places, others, gone, switched);
    }

    /// Restores the cooldowns, verification progress and proven marks of the endpoints that are still the same services.
    pub(super) fn take_up_what_was_before(&mut self) {
        for (id, kept) in std::mem::take(&mut self.before) {
            let Some(member) = self.queues.get(&id) else { continue };
            if ServiceDigest::of(member.endpoint(), self.queues.salt()) != kept.service {
                continue;
            }
            let slot = member.slot();
            self.verifications.take_up(&id, member.epoch(), kept.progress);
            if kept.proven {
                self.queues.note_proven(slot);
            }
            let cooling = self.cooling.get_or_default(slot);
            for (model, cooldown) in kept.cooldowns {
                cooling.resume(model, cooldown);
            }
        }
    }

    /// An image of what outlives a restart.
    pub fn image(&self, almanac: &Almanac, now: Moment) -> Image {
        let endpoints = self.queues.iter().map(|member| self.kept(member, almanac, now)).collect();
        let departed = self.queues.departed().map(|(id, departed)| KeptDeparture {
            id: id.clone(),
            service: departed.service,
            isolation: kept_isolation(&departed.isolation, almanac),
        });
        let Switched { off, on } = self.queues.switched();
        Image {
            salt: self.queues.salt(),
            made_at: almanac.time_of(now),
            endpoints,
            departed: departed.collect(),
            switched_off: off.into_iter().collect(),
            switched_on: on.into_iter().collect(),
        }
    }

    /// Notes that the endpoint works, and has that saved if it is news: once, not with each request.
    pub(super) fn note_proven(&mut self, slot: Slot, out: &mut Outputs) {
        if self.queues.note_proven(slot) {
            out.push(Effect::Keep(Keep::Soon));
        }
    }

    fn kept(&self, member: &Member, almanac: &Almanac, now: Moment) -> KeptEndpoint {
        let id = &member.endpoint().id;
        let recovered = member.recovered().filter(|at| now.since(*at) < self.policy.slow_start);
        let kept_cooldown = |(model, cooldown): (Option<&Arc<str>>, Cooldown)| KeptCooldown {
            model: model.map(ToString::to_string),
            since: almanac.time_of(cooldown.since),
            until: almanac.time_of(cooldown.until),
            reason: cooldown.reason,
        };
        let cooling = self.cooling.get(member.slot());
        let resume = self.verifications.latest(member);
        let verified = resume.and_then(|resume| resume.since_isolation);
        KeptEndpoint {
            id: id.clone(),
            service: ServiceDigest::of(member.endpoint(), self.queues.salt()),
            isolation: member.quarantine().map(|isolation| kept_isolation(isolation, almanac)),
            recovered_at: recovered.map(|at| almanac.time_of(at)),
            progress: KeptProgress {
                step: resume.map_or(0, |resume| resume.step),
                verifications: verified.map_or(0, |verified| verified.verifications),
                next: verified.map(|verified| almanac.time_of(verified.next)),
            },
            cooldowns: cooling.map(|cooling| cooling.all(now).map(kept_cooldown).collect()).unwrap_or_default(),
            proven: member.is_proven(),
        }
    }
}

/// The isolation of every endpoint when the past is lost.
fn everybody_is_isolated(now: Moment) -> Isolation {
    let error = Some(ErrorNote::new("what was known before the restart could not be read"));
    Isolation { urgency: Urgency::AtOnce, ..isolation(Reason::Admin, now, error) }
}

fn isolation(reason: Reason, at: Moment, error: Option<ErrorNote>) -> Isolation {
    Isolation {
        reason,
        at,
        failures: 0,
        error,
        model: None,
        relapse: false,
        // No attempt of the last run can end in this one, so no doubt can arise.
        fault: Fault::Settled,
        suffices: Suffices::ThatModel,
        urgency: Urgency::Delayed,
    }
}

fn kept_isolation(isolation: &Isolation, almanac: &Almanac) -> KeptIsolation {
    KeptIsolation {
        reason: isolation.reason,
        at: almanac.time_of(isolation.at),
        failures: isolation.failures,
        error: isolation.error.as_ref().map(ToString::to_string),
        manner: isolation.error.as_ref().map(ErrorNote::manner).unwrap_or_default(),
        model: isolation.model.as_deref().map(str::to_owned),
        suffices: isolation.suffices,
        relapse: isolation.relapse,
        at_once: isolation.is_due_at_once(),
    }
}

fn revived(kept: KeptIsolation, almanac: &Almanac, now: Moment) -> Isolation {
    let KeptIsolation { reason, at, failures, error, manner, model, suffices, relapse, at_once } = kept;
    let error = error.map(|error| ErrorNote::new(error).seen_in(manner));
    let model = model.map(Arc::from);
    Isolation {
        failures,
        model,
        suffices,
        relapse,
        urgency: if at_once { Urgency::AtOnce } else { Urgency::Delayed },
        ..isolation(reason, almanac.moment_of(at).min(now), error)
    }
}

fn cooldown(kept: KeptCooldown, almanac: &Almanac, now: Moment) -> (Option<Arc<str>>, Cooldown) {
    let KeptCooldown { model, since, until, reason } = kept;
    let (since, until) = (almanac.moment_of(since), almanac.moment_of(until));
    // If the clock was set back, no cooldown lasts longer than was announced.
    let until = until.min(now + until.since(since));
    let cooldown = Cooldown { since: since.min(now), until, reason };
    (model.map(Arc::from), cooldown)
}
