//! The actor that owns every endpoint's standing. It translates messages for its core and carries out the resulting
//! effects.

mod effects;
mod findings;
mod keeping;
mod orders;
mod requests;
mod views;
mod waking;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, Recipient, SpawnHandle};
use log::{debug, error, info, warn};
use tokio::sync::oneshot;

use super::lifeline::Lifeline;
use super::messages::{
    Converse, Drain, FailureList, ForgetOthers, Hasten, KeepImage, Note, Notify, Observe, ResetBreaker, Retract,
    SetBreakerPolicy, SetVerifierPolicy, StopParking, Tick,
};
use crate::clock::Clock;
use crate::domain::endpoint::Protocol;
use crate::domain::events::{Event, EventKind};
use crate::domain::health::{BreakerState, Status};
use crate::domain::ids::{EndpointId, ProfileId, Serial, Ticket};
use crate::domain::memory::Memory;
use crate::domain::outcome::Reason;
use crate::domain::queues::Switch;
use crate::domain::registry::{MoveNote, Outputs, RegistryCore, RegistryPolicy, WaiterId};
use crate::domain::time::Moment;
use keeping::Keeping;
use requests::AwaitsLease;

/// How often waiters' deadlines are checked and the failure list is sent again.
const TICK: Duration = Duration::from_secs(1);

/// The actors that the registry sends to.
#[derive(Debug)]
pub struct Peers {
    /// The breakers, for outcomes.
    pub observe: Recipient<Observe>,
    /// The breakers, for recoveries.
    pub reset: Recipient<ResetBreaker>,
    /// The breakers, for failures that are taken back.
    pub retract: Recipient<Retract>,
    /// The verifier, for the failure queue.
    pub failures: Recipient<FailureList>,
    /// The verifier, for endpoints that requests wait for.
    pub hasten: Recipient<Hasten>,
    /// The verifier, for conversations that an admin wants.
    pub converse: Recipient<Converse>,
    /// The breakers, for their policy.
    pub breaker_policy: Recipient<SetBreakerPolicy>,
    /// The verifier, for its policy.
    pub verifier_policy: Recipient<SetVerifierPolicy>,
    /// The breakers, for the endpoints still known.
    pub breakers_known: Recipient<ForgetOthers>,
    /// The verifier, for the endpoints still known.
    pub verifier_known: Recipient<ForgetOthers>,
    /// The keeper, if anything outlives a restart.
    pub keep: Option<Recipient<KeepImage>>,
    /// The stats collector.
    pub stats: Recipient<Note>,
    /// The notifier.
    pub notices: Recipient<Notify>,
}

/// The one owner of queue membership.
#[derive(Debug)]
pub struct Registry {
    core: RegistryCore,
    clock: Clock,
    peers: Peers,
    waiting: HashMap<WaiterId, AwaitsLease>,
    alarm: Option<(Moment, SpawnHandle)>,
    awaiting_verdict: HashMap<Serial, Vec<oneshot::Sender<()>>>,
    /// What leases report to. All share one, because each address made anew is another sender to the mailbox.
    address: Option<Arc<Addr<Self>>>,
    /// `None` if nothing outlives a restart.
    keeping: Option<Keeping>,
    /// The effects of an input, until they are carried out; kept to reuse the allocation.
    effects: Outputs,
    lifeline: Lifeline,
}

impl Registry {
    /// A registry without endpoints; [`Apply`](super::messages::Apply) brings them. `memory` is what is known from before
    /// the start.
    pub fn new(policy: RegistryPolicy, clock: Clock, memory: Memory, peers: Peers, lifeline: Lifeline) -> Self {
        let mut core = RegistryCore::new(policy);
        core.remember(memory, &clock.almanac(), clock.now());
        let keeping = peers.keep.clone().map(|keeper| Keeping::new(keeper, peers.stats.clone()));
        Self {
            core,
            keeping,
            clock,
            peers,
            waiting: HashMap::new(),
            alarm: None,
            awaiting_verdict: HashMap::new(),
            address: None,
            effects: Outputs::new(),
            lifeline,
        }
    }

    /// Gives the core an input, dated once, and carries out its effects.
    fn step<T>(
        &mut self,
        ctx: &mut Context<Self>,
        input: impl FnOnce(&mut RegistryCore, Moment, &mut Outputs) -> T,
    ) -> T {
        let now = self.clock.now();
        let mut effects = std::mem::take(&mut self.effects);
        let answer = input(&mut self.core, now, &mut effects);
        self.carry_out(effects.drain(..), now, ctx);
        self.effects = effects;
        answer
    }
}

impl Actor for Registry {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(super::MAILBOX_CAPACITY);
        ctx.run_interval(TICK, |_, ctx| ctx.notify(Tick));
    }
}

impl Handler<StopParking> for Registry {
    type Result = ();

    fn handle(&mut self, _: StopParking, ctx: &mut Self::Context) {
        self.step(ctx, RegistryCore::stop_parking);
    }
}

impl Handler<Drain> for Registry {
    type Result = ();

    fn handle(&mut self, _: Drain, ctx: &mut Self::Context) {
        self.keep(|keeping, image| keeping.finish(image));
        self.lifeline.release();
        ctx.stop();
    }
}

// The log lines. A line's target is the module that writes it, and people filter and search by target, so all are written
// here, whichever file they follow from.

impl Registry {
    /// Logs an endpoint's standing right after a move: in a fresh epoch no failure is counted and no verification begun.
    fn log_standing(&self, event: &Event) {
        if !log::log_enabled!(log::Level::Debug) {
            return;
        }
        let Some(id) = &event.endpoint else { return };
        let Some(moved) = self.core.view_of(id, self.clock.now()) else { return };
        let standing = moved.standing.as_str();
        let status = Status::of(moved.standing, 0, moved.ease()).as_str();
        let breaker = BreakerState::of(moved.isolation.is_some(), false).as_str();
        debug!("endpoint {id} standing={standing} status={status} breaker={breaker} in_flight={}", moved.in_flight);
    }
}

fn log_move(event: &Event, note: MoveNote) {
    let Some(id) = &event.endpoint else { return };
    let by = event.by.map_or_else(String::new, |address| format!(" by=\"admin {address}\""));
    match event.kind {
        EventKind::Isolated => {
            let failures = match note {
                MoveNote::Failures(failures) => failures,
                MoveNote::None => 0,
            };
            let reason = event.reason.map_or("", Reason::as_str);
            let last_error = event.detail.as_deref().unwrap_or("-");
            warn!("endpoint {id} isolated reason={reason} failures={failures} last_error={last_error:?}{by}");
        }
        // Logged elsewhere, where more is known: a recovery with its verifications, a reload with its faults.
        EventKind::Recovered | EventKind::Verified | EventKind::SecondOpinion | EventKind::Reload => {}
        EventKind::Cooldown => info!("endpoint {id} cooling {}", rest(event)),
        // A warning, as it lasts longer than a cooldown and needs more than patience.
        EventKind::Exhausted => warn!("endpoint {id} exhausted {}", rest(event)),
        EventKind::Disabled => info!("endpoint {id} disabled{by}"),
        EventKind::Enabled => info!("endpoint {id} enabled{by}"),
        EventKind::Added => debug!("endpoint {id} added"),
        EventKind::Changed => info!("endpoint {id} changed"),
        EventKind::Removed => info!("endpoint {id} removed"),
    }
}

fn log_recovered(id: &EndpointId, ms: u128, score: u8, verifications: u32) {
    info!("endpoint {id} recovered ms={ms} score={score} verifications={verifications}");
}

/// Warns that an admin's switch overrules the settings, which would otherwise just seem to have no effect.
fn log_overruled(id: &EndpointId, switch: Switch) {
    let (is, settings, route) = match switch {
        Switch::Off => ("off", "on", "enable"),
        Switch::On => ("on", "off", "disable"),
    };
    warn!(
        "endpoint {id} was switched {is} by an admin, though the settings have it {settings}: so it stays until \
         POST /__qcc__/endpoints/{id}/{route}"
    );
}

/// For which model an endpoint rests, why and how long.
fn rest(event: &Event) -> String {
    let model = event.model.as_deref().unwrap_or("-");
    let reason = event.detail.as_deref().unwrap_or("-");
    let seconds = event.ms.unwrap_or_default().div_ceil(1000);
    format!("model={model:?} reason={reason} for={seconds}s")
}

fn log_filtered(profile: &ProfileId, excluded: usize) {
    info!("failure queue filter: excluded {excluded} endpoint(s) profile={profile}");
}

fn log_summary(profile: &ProfileId, endpoints: usize, usable: usize, isolated: usize) {
    info!("profile {profile}: {endpoints} endpoints, {usable} usable, {isolated} in the failure queue");
}

fn log_nothing_usable(profile: &ProfileId, protocol: Protocol, endpoints: usize, isolated: usize) {
    let (disabled, protocol) = (endpoints.saturating_sub(isolated), protocol.as_str());
    error!(
        "profile {profile}: no endpoint is usable, {isolated} in the failure queue and {disabled} disabled \
         protocol={protocol}"
    );
}

fn log_never_proven(id: &EndpointId) {
    warn!(
        "endpoint {id} has never passed a verification nor served a request, so after this isolation it may not \
         come back; see its base_url, key and verify_model, and verify it"
    );
}

fn log_leak(ticket: &Ticket) {
    error!("LEAK: a request was sent to endpoint {} while it was isolated", ticket.endpoint);
}

#[cfg(test)]
mod tests;
