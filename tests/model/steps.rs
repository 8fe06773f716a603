//! The steps of the simulation: what may happen next. Each is one input to one core, or one message that arrives.

use std::time::Duration;

use qcc_gateway::domain::registry::{Outputs, RegistryCore, WaiterId};
use qcc_gateway::domain::time::Moment;

use super::chance::{self, one_in, pick};
use super::effects::Followed;
use super::verifier::Manner;
use super::world::{ToVerifier, World};

/// Of how many messages that may be lost one is.
pub(crate) const LOST: u32 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Acquire,
    Crowd,
    Travel,
    Write,
    Settle,
    SettleAgain,
    WaiterLeaves,
    ClientLeaves,
    Doubt,
    Observe,
    Reset,
    Verdict,
    StrayVerdict,
    Verifier,
    StartDue,
    ConversationEnds,
    Recovered,
    StrayProof,
    News,
    OldNews,
    RegistryTick,
    Alarm,
    NearTheAlarm,
    AdminIsolates,
    AdminSwitches,
    AdminVerifies,
    SettingsChange,
    Restart,
    TimePasses,
}

impl Step {
    pub(crate) const ALL: [Self; 29] = [
        Self::Acquire,
        Self::Crowd,
        Self::Travel,
        Self::Write,
        Self::Settle,
        Self::SettleAgain,
        Self::WaiterLeaves,
        Self::ClientLeaves,
        Self::Doubt,
        Self::Observe,
        Self::Reset,
        Self::Verdict,
        Self::StrayVerdict,
        Self::Verifier,
        Self::StartDue,
        Self::ConversationEnds,
        Self::Recovered,
        Self::StrayProof,
        Self::News,
        Self::OldNews,
        Self::RegistryTick,
        Self::Alarm,
        Self::NearTheAlarm,
        Self::AdminIsolates,
        Self::AdminSwitches,
        Self::AdminVerifies,
        Self::SettingsChange,
        Self::Restart,
        Self::TimePasses,
    ];

    /// How often it comes in a run like any other. Each seed changes some of these, so that runs differ in kind: quiet
    /// ones, storms of reloads, verdicts that hardly ever arrive.
    pub(crate) const fn usual_weight(self) -> u32 {
        match self {
            Self::Acquire => 28,
            Self::Settle => 20,
            Self::Travel | Self::Write | Self::Observe | Self::Verdict => 16,
            Self::Verifier | Self::ConversationEnds | Self::News => 12,
            Self::StartDue | Self::Recovered | Self::TimePasses => 8,
            Self::Alarm => 6,
            Self::RegistryTick | Self::Doubt => 4,
            Self::SettingsChange => 3,
            Self::SettleAgain | Self::Reset | Self::WaiterLeaves | Self::OldNews | Self::NearTheAlarm => 2,
            Self::Crowd
            | Self::StrayVerdict
            | Self::StrayProof
            | Self::ClientLeaves
            | Self::Restart
            | Self::AdminIsolates
            | Self::AdminSwitches
            | Self::AdminVerifies => 1,
        }
    }
}

impl World {
    pub(crate) fn step(&mut self, step: Step) {
        match step {
            Step::Acquire => self.acquire(),
            Step::Crowd => self.crowd(),
            Step::Travel => self.travel(),
            Step::Write => self.write(),
            Step::Settle => {
                if !self.leases.is_empty() {
                    let index = self.rng.usize(..self.leases.len());
                    let mut lease = self.leases.swap_remove(index);
                    if !one_in(&mut self.rng, 4) && self.shadow.is_in_service(&lease.grant.ticket) {
                        lease.written_at = lease.written_at.or(Some(self.core.epochs().newest()));
                    }
                    if lease.journey.is_none() && one_in(&mut self.rng, 64) {
                        self.trace.met("a lease that is never settled");
                        self.stuck.push(lease);
                    } else {
                        self.lease_ends(lease);
                    }
                }
            }
            Step::SettleAgain => self.settle_again(),
            Step::WaiterLeaves => {
                let ids: Vec<_> = self.shadow.waiters().iter().map(|waiter| waiter.id).collect();
                if let Some(waiter) = pick(&mut self.rng, &ids).filter(|waiter| !self.waiting.contains_key(waiter)) {
                    self.leaves_while_it_waits(waiter);
                }
            }
            Step::ClientLeaves => self.client_leaves(),
            Step::Doubt => self.doubt(),
            Step::Observe => self.deliver_to_breakers(),
            Step::Reset => self.deliver_reset(),
            Step::Verdict => self.deliver_verdict(),
            Step::StrayVerdict => self.stray_verdict(),
            Step::Verifier => self.deliver_to_verifier(),
            Step::StartDue => self.start_due(),
            Step::ConversationEnds => {
                let key = pick(&mut self.rng, &self.talks.keys().cloned().collect::<Vec<_>>());
                let manner = Manner::any(&mut self.rng);
                if let Some(key) = key.filter(|key| !self.hung.contains(key)) {
                    self.conversation_ends(&key, manner);
                }
            }
            Step::Recovered => self.deliver_proof(),
            Step::StrayProof => {
                if !self.kept_proofs.is_empty() {
                    let index = self.rng.usize(..self.kept_proofs.len());
                    let proof = self.kept_proofs.swap_remove(index);
                    self.proofs.push_back(proof);
                }
            }
            Step::News => self.deliver_news(),
            Step::OldNews => {
                if self.is_faithful {
                    self.trace.note("nothing comes twice");
                } else if self.rng.bool() {
                    self.unsent_news();
                } else if let Some(news) = pick(&mut self.rng, &self.old_news) {
                    self.trace.met("news that comes again");
                    self.take_in(news);
                }
            }
            Step::RegistryTick => self.registry_tick(),
            Step::Alarm => self.alarm(),
            Step::NearTheAlarm => self.near_the_alarm(),
            Step::AdminIsolates => self.admin_isolates(),
            Step::AdminSwitches => {
                let (id, on) = (chance::any_id(&mut self.rng), self.rng.bool());
                self.admin_switches(&id, on);
            }
            Step::AdminVerifies => {
                let id = chance::any_id(&mut self.rng);
                self.trace.note(&format!("an admin verifies {id}"));
                if let Some(subject) = self.core.subject(&id) {
                    self.to_verifier.push_back(ToVerifier::Converse(subject));
                }
            }
            Step::SettingsChange => self.settings_change(),
            Step::Restart => {
                // A run without any past would show little.
                if one_in(&mut self.rng, 4) {
                    self.restart();
                }
            }
            Step::TimePasses => self.now += chance::pause(&mut self.rng),
        }
    }

    /// Its client leaves, which nobody notices yet.
    pub(crate) fn leaves_while_it_waits(&mut self, waiter: WaiterId) {
        self.waiting.remove(&waiter);
        self.left.insert(waiter);
    }

    /// Who has left is forgotten first.
    pub(crate) fn forget_who_left(&mut self) {
        let left = std::mem::take(&mut self.left);
        self.core.leave(&left);
        for waiter in left {
            self.shadow.stops_waiting(waiter);
            self.trace.met("one who left while it waited");
        }
    }

    /// The registry looks at the clock, at all who wait or only at those for whom that has changed something: what follows is what
    /// a look at all is followed by.
    fn look_at_the_clock(&mut self, look: impl FnOnce(&mut RegistryCore, Moment, &mut Outputs)) {
        self.forget_who_left();
        let mut effects = Outputs::new();
        look(&mut self.core, self.now, &mut effects);
        assert_eq!(self.carry_out(effects, 1), Followed::default());
        let is_over = |wake| wake <= self.now;
        assert!(!self.core.next_wake().is_some_and(is_over), "a look at the clock asks for another at once");
    }

    pub(crate) fn registry_tick(&mut self) {
        self.trace.note("the registry's clock ticks");
        self.look_at_the_clock(RegistryCore::tick);
        self.publish_failures();
        self.catch_up();
    }

    /// The clock goes on to the moment at which the registry wanted to be woken.
    pub(crate) fn alarm(&mut self) {
        let Some(wake) = self.core.next_wake() else { return };
        self.now = self.now.max(wake);
        self.trace.note("the registry is woken");
        self.trace.met("an alarm for those who wait");
        self.look_at_the_clock(RegistryCore::wake);
    }

    /// The clock goes on to a moment just before or after it, and nobody is woken.
    fn near_the_alarm(&mut self) {
        let Some(wake) = self.core.next_wake() else { return };
        let near =
            if self.rng.bool() { wake.before(Duration::from_millis(1)) } else { wake + Duration::from_millis(1) };
        self.now = self.now.max(near);
        self.trace.note("it is almost time to wake the registry");
    }
}
