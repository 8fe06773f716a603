//! The inputs that change an endpoint's standing, and what each leaves behind: an audit entry, events, a fresh failure list.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::super::challenge::RecoveryProof;
use super::super::events::{Event, EventKind};
use super::super::ids::{EndpointId, Epoch};
use super::super::journal::Entry;
use super::super::outcome::Reason;
use super::super::queues::{Evidence, Isolation, SwitchError};
use super::super::schedule::Suffices;
use super::super::slots::Slot;
use super::super::time::{Moment, whole_millis};
use super::super::topology::{Topology, TopologyDiff};
use super::effects::MoveNote;
use super::lanes::Lanes;
use super::{Effect, Keep, Member, Outputs, Pool, RegistryCore, RegistryPolicy};

impl RegistryCore {
    /// Moves an endpoint to the failure queue, if it is in its home queue in this epoch.
    pub(super) fn isolate(
        &mut self,
        id: &EndpointId,
        epoch: Epoch,
        evidence: Evidence,
        by: Option<IpAddr>,
        now: Moment,
        out: &mut Outputs,
    ) -> bool {
        let mut event = Event::new(EventKind::Isolated, now, id);
        event.reason = Some(evidence.reason);
        event.detail = evidence.error.as_ref().map(ToString::to_string);
        event.model = evidence.model.as_deref().map(ToOwned::to_owned);
        event.by = by;
        let note = MoveNote::Failures(evidence.failures);
        let Some(isolation) = self.queues.isolate(id, epoch, evidence, now, self.policy.slow_start) else {
            return false;
        };
        event.epoch = Some(isolation);
        out.push(Effect::Note(event, note));
        if self.queues.take_never_proven_warning(id) {
            out.push(Effect::NeverProven(id.clone()));
        }
        self.moved(id, now, out);
        true
    }

    /// Moves a verified endpoint back to its home queue. Only a proof of its present isolation does so.
    ///
    /// Returns the isolation that ended.
    pub fn restore(&mut self, proof: RecoveryProof, now: Moment, out: &mut Outputs) -> Option<Isolation> {
        let (epoch, ended) = self.queues.restore(&proof, now)?;
        let id = proof.endpoint();
        self.opinions.passed(id, proof.epoch(), now);
        if let Some(cooling) = self.queues.slot(id).and_then(|slot| self.cooling.get_mut(slot)) {
            cooling.recover();
        }
        let began = now.before(proof.elapsed());
        self.verifications.note_conversation(id, proof.epoch(), began, now);
        let mut event = Event::new(EventKind::Recovered, now, id);
        event.reason = Some(ended.reason);
        event.epoch = Some(epoch);
        event.ms = Some(whole_millis(proof.elapsed()));
        event.score = Some(proof.score());
        out.push(Effect::Note(event, MoveNote::None));
        out.push(Effect::ResetBreaker(id.clone(), epoch));
        self.moved(id, now, out);
        self.look_at_waiters(now, out);
        self.check_invariants();
        drop(proof);
        Some(ended)
    }

    /// Isolates an endpoint on an admin's word, until it passes a verification. Returns whether anything changed.
    ///
    /// # Errors
    ///
    /// [`SwitchError`] if there is no such endpoint, or it is switched off.
    pub fn isolate_by_admin(
        &mut self,
        id: &EndpointId,
        by: IpAddr,
        now: Moment,
        out: &mut Outputs,
    ) -> Result<bool, SwitchError> {
        use super::super::queues::Standing;
        let member = self.queues.get(id).ok_or(SwitchError::Unknown)?;
        let epoch = member.epoch();
        match member.standing() {
            Standing::Disabled => return Err(SwitchError::Disabled),
            Standing::Failure => return Ok(false),
            Standing::Primary | Standing::Secondary => {}
        }
        let evidence =
            Evidence { reason: Reason::Admin, failures: 0, error: None, model: None, suffices: Suffices::ThatModel };
        let isolated = self.isolate(id, epoch, evidence, Some(by), now, out);
        self.look_at_waiters(now, out);
        self.check_invariants();
        Ok(isolated)
    }

    /// Switches an endpoint on or off on an admin's word. Returns whether anything changed.
    ///
    /// # Errors
    ///
    /// [`SwitchError`] if there is no such endpoint, or it can't be switched on.
    pub fn set_enabled(
        &mut self,
        id: &EndpointId,
        enabled: bool,
        by: IpAddr,
        now: Moment,
        out: &mut Outputs,
    ) -> Result<bool, SwitchError> {
        let Some(epoch) = self.queues.set_enabled(id, enabled)? else {
            // Nothing moves now, but an admin's word is kept: it may decide a move at the next reload.
            out.push(Effect::Keep(Keep::Now));
            return Ok(false);
        };
        let kind = if enabled { EventKind::Enabled } else { EventKind::Disabled };
        let mut event = Event::new(kind, now, id);
        event.epoch = Some(epoch);
        event.by = Some(by);
        out.push(Effect::Note(event, MoveNote::None));
        self.moved(id, now, out);
        self.look_at_waiters(now, out);
        self.check_invariants();
        Ok(true)
    }

    /// Takes over new settings. What is under way is judged by them from now on; the journal keeps its length.
    pub fn set_policy(&mut self, policy: RegistryPolicy) {
        self.sessions.resize(&policy.affinity);
        self.policy = policy;
        self.watch_who_has_recovered();
    }

    /// Takes over a new set of endpoints. Those that stay keep their standing, leases and turn.
    pub fn apply(&mut self, topology: Arc<Topology>, now: Moment, out: &mut Outputs) -> TopologyDiff {
        let profiles = topology.profiles();
        let is_another = |member: &Member| {
            topology.get(&member.endpoint().id).is_none_or(|next| !next.same_service(member.endpoint()))
        };
        let others: Vec<EndpointId> =
            self.queues.iter().filter(|member| is_another(member)).map(|member| member.endpoint().id.clone()).collect();
        self.forget(&others);
        // An endpoint that leaves has no epoch afterwards.
        let before: BTreeMap<EndpointId, Epoch> =
            self.queues.iter().map(|member| (member.endpoint().id.clone(), member.epoch())).collect();
        let quarantined = self.queues.quarantined();
        let diff = self.queues.apply(topology);
        self.lanes = Lanes::new(&self.queues);
        self.pools = profiles
            .into_iter()
            .map(|profile| {
                let told = self.pools.get(&profile).map(|pool| (pool.reported_excluded, pool.lacks.clone()));
                let (reported_excluded, lacks) = told.unwrap_or_default();
                let mut pool = Pool::new(&profile, &self.queues, &self.lanes);
                (pool.reported_excluded, pool.lacks) = (reported_excluded, lacks);
                (profile, pool)
            })
            .collect::<BTreeMap<_, _>>();
        let told =
            [(EventKind::Added, &diff.added), (EventKind::Changed, &diff.changed), (EventKind::Removed, &diff.removed)];
        for (kind, id) in told.into_iter().flat_map(|(kind, ids)| ids.iter().map(move |id| (kind, id))) {
            let mut event = Event::new(kind, now, id);
            event.epoch = self.queues.get(id).map(super::Member::epoch).or_else(|| before.get(id).copied());
            out.push(Effect::Note(event, MoveNote::None));
            self.put_on_record(id);
        }
        self.tell_who_came_isolated(&quarantined, now, out);
        for slot in diff.removed.iter().filter_map(|id| self.queues.slot(id)) {
            self.turns.remove(slot);
        }
        self.take_up_what_was_before();
        self.reseat_all(now);
        out.push(Effect::PublishJobs);
        out.push(Effect::Keep(Keep::Now));
        self.summarise(self.pools.keys().cloned().collect(), out);
        self.readdress_waiters();
        self.look_at_waiters(now, out);
        self.check_invariants();
        diff
    }

    /// Reports the endpoints that new settings brought into the failure queue: services that had left while isolated, and,
    /// if the past is lost, all. The others were reported when they failed.
    fn tell_who_came_isolated(&self, before: &BTreeSet<EndpointId>, now: Moment, out: &mut Outputs) {
        for member in self.queues.iter() {
            let id = &member.endpoint().id;
            let Some(isolation) = member.isolation().filter(|_| !before.contains(id)) else { continue };
            let mut event = Event::new(EventKind::Isolated, now, id);
            event.epoch = Some(member.epoch());
            event.reason = Some(isolation.reason);
            event.detail = isolation.error.as_ref().map(ToString::to_string);
            event.model = isolation.model.as_deref().map(ToOwned::to_owned);
            out.push(Effect::Note(event, MoveNote::Failures(isolation.failures)));
        }
    }

    /// Forgets what was known of services that are gone or were replaced by others: their cooldowns, sessions and opinions.
    fn forget(&mut self, services: &[EndpointId]) {
        let slots: BTreeSet<Slot> = services.iter().filter_map(|id| self.queues.slot(id)).collect();
        for slot in &slots {
            self.cooling.remove(*slot);
        }
        if !slots.is_empty() {
            self.sessions.forget(|endpoint| slots.contains(&endpoint));
        }
        for id in services {
            self.opinions.forget_all(id);
            self.verifications.forget(id);
        }
    }

    /// What follows every move.
    fn moved(&mut self, id: &EndpointId, now: Moment, out: &mut Outputs) {
        if let Some(slot) = self.queues.slot(id) {
            self.reseat(slot, now);
        }
        self.put_on_record(id);
        self.opinions.forget(id);
        self.verifications.moved(id);
        out.push(Effect::PublishJobs);
        out.push(Effect::Keep(Keep::Now));
        let profiles = self.queues.get(id).map(|member| member.endpoint().profiles.clone()).unwrap_or_default();
        self.summarise(profiles, out);
    }

    fn put_on_record(&mut self, id: &EndpointId) {
        let endpoint = id.clone();
        if let Some(member) = self.queues.get(id) {
            self.audit.note(id, member.epoch(), member.quarantine().is_some());
            self.journal.push(Entry::Moved { endpoint, epoch: member.epoch(), standing: member.standing() });
        } else {
            self.audit.note(id, self.queues.epochs().newest(), false);
            self.journal.push(Entry::Removed { endpoint });
        }
        if self.queues.slot(id).is_none_or(|slot| self.leases.in_flight(slot) == 0) {
            self.audit.forget_ended(id);
        }
    }
}
