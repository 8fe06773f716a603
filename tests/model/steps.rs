//! The steps of the simulation: what may happen next. Each is one input to one core, or one message that arrives.

use std::time::Duration;

use qcc_gateway::domain::breaker::Judgement;
use qcc_gateway::domain::challenge::{Challenge, Code, Reply, ReplyBody, Verdict};
use qcc_gateway::domain::classify::Words;
use qcc_gateway::domain::endpoint::Protocol;
use qcc_gateway::domain::outcome::{ErrorNote, Outcome, Reason, Report};
use qcc_gateway::domain::registry::{Acquired, Outputs, Settlement};
use qcc_gateway::domain::schedule::{AtOnce, VerifyJob};

use super::chance::{self, one_in, pick};
use super::world::{ADMIN, Conversation, Followed, Lease, Talk, ToVerifier, Waiting, World};

/// Of how many messages that may be lost one is.
const LOST: u32 = 8;
/// How many tickets of past leases are kept to bring stale news with.
const PAST: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Acquire,
    Write,
    Settle,
    SettleAgain,
    WaiterLeaves,
    Observe,
    Reset,
    Verdict,
    StrayVerdict,
    Verifier,
    StartDue,
    ConversationEnds,
    Recovered,
    StrayProof,
    RegistryTick,
    AdminIsolates,
    AdminSwitches,
    AdminVerifies,
    SettingsChange,
    TimePasses,
}

impl Step {
    pub(crate) const ALL: [Self; 20] = [
        Self::Acquire,
        Self::Write,
        Self::Settle,
        Self::SettleAgain,
        Self::WaiterLeaves,
        Self::Observe,
        Self::Reset,
        Self::Verdict,
        Self::StrayVerdict,
        Self::Verifier,
        Self::StartDue,
        Self::ConversationEnds,
        Self::Recovered,
        Self::StrayProof,
        Self::RegistryTick,
        Self::AdminIsolates,
        Self::AdminSwitches,
        Self::AdminVerifies,
        Self::SettingsChange,
        Self::TimePasses,
    ];

    /// How often it comes in a run like any other. Each seed changes some of these, so that runs differ in kind: quiet
    /// ones, storms of reloads, verdicts that hardly ever arrive.
    pub(crate) const fn usual_weight(self) -> u32 {
        match self {
            Self::Acquire => 24,
            Self::Write | Self::Settle => 16,
            Self::Observe | Self::Verdict => 14,
            Self::Verifier | Self::StartDue | Self::ConversationEnds | Self::Recovered | Self::TimePasses => 8,
            Self::RegistryTick => 4,
            Self::SettleAgain | Self::Reset | Self::SettingsChange => 3,
            Self::WaiterLeaves
            | Self::StrayVerdict
            | Self::StrayProof
            | Self::AdminIsolates
            | Self::AdminSwitches
            | Self::AdminVerifies => 2,
        }
    }
}

/// How an endpoint takes part in a test conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    SendsTheCode,
    SendsAnotherCode,
    EchoesTheQuestion,
    SendsTheCodeAsAnError,
    IsDown,
}

const MANNERS: [Manner; 6] = [
    Manner::SendsTheCode,
    Manner::SendsTheCode,
    Manner::SendsAnotherCode,
    Manner::EchoesTheQuestion,
    Manner::SendsTheCodeAsAnError,
    Manner::IsDown,
];

impl World {
    pub(crate) fn step(&mut self, step: Step) {
        match step {
            Step::Acquire => self.acquire(),
            Step::Write => self.write(),
            Step::Settle => {
                let outcome = chance::outcome(&mut self.rng, self.faults);
                if !self.leases.is_empty() {
                    let index = self.rng.usize(..self.leases.len());
                    let lease = self.leases.swap_remove(index);
                    self.settle(lease, outcome);
                }
            }
            Step::SettleAgain => self.settle_again(),
            Step::WaiterLeaves => {
                let nth = self.rng.usize(..self.waiting.len().max(1));
                if let Some(waiting) = self.waiting.values_mut().nth(nth) {
                    waiting.client_left = true;
                }
            }
            Step::Observe => self.deliver_observation(),
            Step::Reset => self.deliver_reset(),
            Step::Verdict => self.deliver_verdict(),
            Step::StrayVerdict => self.stray_verdict(),
            Step::Verifier => self.deliver_to_verifier(),
            Step::StartDue => self.start_due(),
            Step::ConversationEnds => {
                let key = pick(&mut self.rng, &self.talks.keys().cloned().collect::<Vec<_>>());
                let manner = MANNERS[self.rng.usize(..MANNERS.len())];
                if let Some(key) = key {
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
            Step::RegistryTick => self.registry_tick(),
            Step::AdminIsolates => self.admin_isolates(),
            Step::AdminSwitches => {
                let (id, on) = (chance::any_id(&mut self.rng), self.rng.bool());
                self.admin_switches(&id, on);
            }
            Step::AdminVerifies => {
                let id = chance::any_id(&mut self.rng);
                self.trace.note(&format!("an admin verifies {id}"));
                if let Some(job) = self.core.job_for(&id, self.now) {
                    self.to_verifier.push_back(ToVerifier::Converse(job));
                }
            }
            Step::SettingsChange => self.settings_change(),
            Step::TimePasses => self.now += chance::pause(&mut self.rng),
        }
    }

    fn acquire(&mut self) {
        let ask = chance::ask(&mut self.rng, self.now);
        let mut effects = Outputs::new();
        let acquired = self.core.acquire(ask.clone(), self.now, &mut effects);
        assert_eq!(self.carry_out(effects), Followed::default());
        match acquired {
            Acquired::Granted(grant) => {
                self.trace.note(&format!("granted {:?} for {ask:?}", grant.ticket));
                self.granted(grant, &ask, false);
            }
            Acquired::Waiting(waiter) => {
                self.trace.note(&format!("{waiter:?} waits with {ask:?}"));
                assert_eq!(self.shadow.answer(&ask, self.now), super::shadow::Answer::Wait);
                self.waiting.insert(waiter, Waiting { ask, client_left: false });
            }
            Acquired::Refused(why) => {
                self.trace.note(&format!("refused {why:?} for {ask:?}"));
                self.refused(&why, &ask);
            }
        }
    }

    /// A worker looks at the gate and writes in the same instant, or withdraws.
    fn write(&mut self) {
        let unwritten = |lease: &&mut Lease| lease.written_at.is_none() && !lease.abandoned;
        let mut leases: Vec<&mut Lease> = self.leases.iter_mut().filter(unwritten).collect();
        if leases.is_empty() {
            return;
        }
        let index = self.rng.usize(..leases.len());
        let lease = leases.swap_remove(index);
        let ticket = lease.grant.ticket.clone();
        let is_open = lease.grant.gate.is_at(ticket.epoch);
        self.trace.note(&format!("the gate of {ticket:?} is open: {is_open}"));
        assert_eq!(is_open, self.shadow.is_in_service(&ticket), "what the gate of {ticket:?} says");
        if is_open {
            lease.written_at = Some(self.core.epochs().newest());
            return;
        }
        let index = self.leases.iter().position(|lease| lease.grant.ticket.serial == ticket.serial).unwrap();
        self.trace.met("an attempt withdrawn at the gate");
        let withdrawn = self.leases.swap_remove(index);
        self.settle(withdrawn, Outcome::Cancelled);
    }

    pub(crate) fn settle(&mut self, lease: Lease, outcome: Outcome) {
        // What was never written can fail to connect, but can't be answered.
        let answered = matches!(outcome, Outcome::Success | Outcome::Fatal(_));
        let outcome =
            if lease.abandoned || (answered && lease.written_at.is_none()) { Outcome::Cancelled } else { outcome };
        let ticket = lease.grant.ticket;
        self.trace.note(&format!("settles {ticket:?} as {outcome:?}"));
        let settlement = Settlement {
            ticket: ticket.clone(),
            report: Report { error: Some(ErrorNote::new("HTTP 500")), ..Report::of(outcome) },
            model: lease.model,
            written_at: lease.written_at,
        };
        if matches!(outcome, Outcome::Failure(_) | Outcome::Fatal(_)) && !self.shadow.is_in_service(&ticket) {
            self.trace.met("a failure of an older epoch");
        }
        let mut effects = Outputs::new();
        self.core.settle(settlement, &mut effects);
        let observed = usize::from(self.shadow.settle(&ticket, outcome));
        assert_eq!(self.carry_out(effects), Followed { observed, ..Followed::default() }, "after {outcome:?}");
        assert_eq!(self.core.awaits_verdict(ticket.serial), self.shadow.awaits(ticket.serial));
        if self.past.len() == PAST {
            self.past.remove(0);
        }
        self.past.push(ticket);
    }

    /// A lease's end is reported once more: nothing may follow.
    fn settle_again(&mut self) {
        let Some(ticket) = pick(&mut self.rng, &self.past) else { return };
        let outcome = chance::outcome(&mut self.rng, 90);
        self.trace.note(&format!("settles {ticket:?} again, as {outcome:?}"));
        let before = self.core.view(self.now);
        let written_at = Some(self.core.epochs().newest());
        let mut effects = Outputs::new();
        self.core.settle(Settlement { ticket, report: Report::of(outcome), model: None, written_at }, &mut effects);
        assert!(effects.is_empty(), "a second report was followed by {effects:?}");
        assert_eq!(self.core.view(self.now), before);
    }

    pub(crate) fn deliver_observation(&mut self) {
        let Some((observation, at)) = self.observations.pop_front() else { return };
        let (ticket, outcome) = (observation.ticket, observation.outcome);
        let judgement = self.bank.observe(&ticket, outcome, at, &self.breaker_policy);
        let right = self.counts.observe(&ticket, outcome, at, &self.breaker_policy);
        self.trace.note(&format!("the breakers judge {ticket:?} {outcome:?}: {judgement:?}"));
        assert!(right.contains(&judgement), "{judgement:?}, though by the count it is {right:?}");
        let shown = self.bank.get(&ticket.endpoint).map(|breaker| (breaker.epoch(), breaker.consecutive_failures()));
        assert_eq!(shown, self.counts.in_a_row(&ticket.endpoint));
        if let Some(judgement) = judgement {
            self.verdicts.push_back((ticket, judgement));
        }
    }

    pub(crate) fn deliver_reset(&mut self) {
        let Some((id, epoch)) = self.resets.pop_front() else { return };
        if self.lossy && one_in(&mut self.rng, LOST) {
            return;
        }
        self.trace.note(&format!("the breaker of {id} starts anew for {epoch:?}"));
        self.bank.reset(&id, epoch);
        self.counts.reset(&id, epoch);
    }

    pub(crate) fn deliver_verdict(&mut self) {
        let Some((ticket, judgement)) = self.verdicts.pop_front() else { return };
        self.trace.note(&format!("verdict on {ticket:?}: {judgement:?}"));
        let judged = usize::from(self.shadow.awaits(ticket.serial));
        let is_enough = self.shadow.judge(&ticket, judgement);
        self.trace.met(match judgement {
            Judgement::Keep => "a verdict that keeps",
            Judgement::Trip { .. } if is_enough => "a verdict that isolates",
            Judgement::Trip { .. } => "a verdict of an older epoch",
        });
        let mut effects = Outputs::new();
        self.core.judge(&ticket, judgement, self.now, &mut effects);
        let isolated = if is_enough { vec![ticket.endpoint] } else { Vec::new() };
        assert_eq!(self.carry_out(effects), Followed { judged, isolated, ..Followed::default() });
    }

    /// A verdict that nobody awaits: nothing may follow.
    fn stray_verdict(&mut self) {
        let known = self.past.iter().chain(self.leases.iter().map(|lease| &lease.grant.ticket));
        let tickets: Vec<_> = known.filter(|ticket| !self.shadow.awaits(ticket.serial)).cloned().collect();
        let Some(ticket) = pick(&mut self.rng, &tickets) else { return };
        self.trace.note(&format!("stray verdict on {ticket:?}"));
        let mut effects = Outputs::new();
        self.core.judge(&ticket, Judgement::Trip { reason: Reason::Stream, failures: 9 }, self.now, &mut effects);
        assert!(effects.is_empty(), "a stray verdict was followed by {effects:?}");
    }

    pub(crate) fn deliver_to_verifier(&mut self) {
        match self.to_verifier.pop_front() {
            None => {}
            Some(ToVerifier::FailureList(_)) if self.lossy && one_in(&mut self.rng, LOST) => {
                self.trace.note("a failure list is lost");
            }
            Some(ToVerifier::FailureList(jobs)) => {
                let rng = &mut self.rng;
                for void in self.schedule.update(&jobs, self.now, || rng.f64()) {
                    self.trace.met("a conversation broken off");
                    self.trace.note(&format!("the conversation {void:?} is broken off"));
                    self.talks.remove(&void);
                }
            }
            Some(ToVerifier::Converse(job)) => {
                if let AtOnce::Begin { job, void } = self.schedule.start_now(&job, self.now) {
                    if let Some(void) = void {
                        self.talks.remove(&void);
                    }
                    self.conversation_starts(&job);
                }
            }
        }
    }

    pub(crate) fn start_due(&mut self) {
        for job in self.schedule.start_due(self.now) {
            self.conversation_starts(&job);
        }
    }

    fn conversation_starts(&mut self, job: &VerifyJob) {
        let (id, epoch) = (job.endpoint.id.clone(), job.epoch);
        self.trace.note(&format!("a conversation with {id} in {epoch:?} begins"));
        let code = Code::from_random(self.rng.u64(..));
        let challenge = Challenge::new(id.clone(), epoch, code);
        self.talks.insert((id, epoch), Talk { challenge, code, protocol: job.endpoint.protocol });
    }

    pub(crate) fn conversation_ends(&mut self, key: &Conversation, manner: Manner) {
        let Some(Talk { challenge, code, protocol }) = self.talks.remove(key) else { return };
        self.trace.note(&format!("the conversation with {key:?} ends: {manner:?}"));
        let (status, text) = match manner {
            Manner::SendsTheCode => (200, format!("Here it is: {code}.")),
            Manner::SendsAnotherCode => (200, Code::from_random(self.rng.u64(..)).to_string()),
            Manner::EchoesTheQuestion => (200, challenge.prompt()),
            Manner::SendsTheCodeAsAnError => (500, code.to_string()),
            Manner::IsDown => (503, String::new()),
        };
        let came_back = status == 200 && text.contains(&code.to_string());
        let body = match protocol {
            Protocol::Anthropic => serde_json::json!({"content": [{"type": "text", "text": text}]}),
            Protocol::OpenAi => serde_json::json!({"choices": [{"message": {"content": text}}]}),
        }
        .to_string();
        let elapsed = Duration::from_millis(self.rng.u64(..3_000));
        let (id, epoch) = key;
        let body = ReplyBody::Whole(body.as_bytes());
        match challenge.judge(&Reply { protocol, status, body, elapsed }, Words::Left) {
            Verdict::Proven(proof) => {
                assert!(came_back, "{manner:?} was taken for a proof");
                self.passed.insert(key.clone());
                if self.schedule.passed(id, *epoch, self.now).is_some() {
                    self.proofs.push_back(proof);
                } else {
                    self.kept_proofs.push(proof);
                }
            }
            Verdict::Unproven(unproven) => {
                assert!(!came_back, "the code came back, and yet: {unproven:?}");
                let chance = self.rng.f64();
                self.schedule.failed(id, *epoch, self.now, chance);
            }
        }
    }

    pub(crate) fn deliver_proof(&mut self) {
        let Some(proof) = self.proofs.pop_front() else { return };
        if self.lossy && one_in(&mut self.rng, LOST) {
            self.trace.note("a proof is lost");
            return;
        }
        let (id, epoch) = (proof.endpoint().clone(), proof.epoch());
        self.trace.note(&format!("a proof of {id} in {epoch:?} arrives"));
        let restores = self.shadow.restore(&id, epoch);
        self.trace.met(if restores { "a proof that restores" } else { "a proof of an older epoch" });
        assert!(!restores || self.passed.contains(&(id.clone(), epoch)));
        let mut effects = Outputs::new();
        let ended = self.core.restore(proof, self.now, &mut effects);
        assert_eq!(ended.is_some(), restores, "what a proof of {epoch:?} does to {id}");
        let recovered = if restores { vec![id] } else { Vec::new() };
        assert_eq!(self.carry_out(effects), Followed { recovered, ..Followed::default() });
    }

    pub(crate) fn registry_tick(&mut self) {
        self.trace.note("the registry's clock ticks");
        let gone: Vec<_> =
            self.waiting.iter().filter(|(_, waiting)| waiting.client_left).map(|(waiter, _)| *waiter).collect();
        for waiter in gone {
            self.waiting.remove(&waiter);
            self.core.leave(waiter);
        }
        let mut effects = Outputs::new();
        self.core.expire(self.now, &mut effects);
        assert_eq!(self.carry_out(effects), Followed::default());
        assert!(self.waiting.values().all(|waiting| self.now < waiting.ask.deadline), "a waiter outlived its deadline");
        self.publish_failures();
    }

    fn admin_isolates(&mut self) {
        let id = chance::any_id(&mut self.rng);
        self.trace.note(&format!("an admin isolates {id}"));
        let expected = self.shadow.isolate_by_admin(&id);
        let mut effects = Outputs::new();
        assert_eq!(self.core.isolate_by_admin(&id, ADMIN, self.now, &mut effects), expected);
        let isolated = if expected == Ok(true) { vec![id] } else { Vec::new() };
        self.trace.met(if isolated.is_empty() { "nothing to isolate" } else { "an admin's isolation" });
        assert_eq!(self.carry_out(effects), Followed { isolated, ..Followed::default() });
    }

    pub(crate) fn admin_switches(&mut self, id: &qcc_gateway::domain::ids::EndpointId, on: bool) {
        self.trace.note(&format!("an admin switches {id} on: {on}"));
        let expected = self.shadow.set_enabled(id, on);
        if on && expected == Ok(true) && self.shadow.isolated().contains(id) {
            self.trace.met("one that was isolated when it was switched off");
        }
        let mut effects = Outputs::new();
        assert_eq!(self.core.set_enabled(id, on, ADMIN, self.now, &mut effects), expected);
        assert_eq!(self.carry_out(effects), Followed::default());
    }

    fn settings_change(&mut self) {
        for _ in 0..self.rng.u32(1..3) {
            let id = chance::any_id(&mut self.rng);
            match self.settings.get_mut(&id) {
                Some(_) if one_in(&mut self.rng, 3) => drop(self.settings.remove(&id)),
                Some(endpoint) => chance::redefine(&mut self.rng, endpoint),
                None => {
                    let endpoint = chance::endpoint(&mut self.rng, id.clone());
                    self.settings.insert(id, endpoint);
                }
            }
        }
        let shown: Vec<String> = self.settings.values().map(chance::describe).collect();
        self.trace.note(&format!("the settings are now {}", shown.join("; ")));
        self.apply();
    }
}
