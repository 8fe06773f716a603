//! What the verifier's actor does with its schedule, and what its news does to the registry.

use std::time::Duration;

use fastrand::Rng;
use qcc_gateway::domain::challenge::{Challenge, Code, Reply, ReplyBody, Verdict};
use qcc_gateway::domain::classify::Words;
use qcc_gateway::domain::endpoint::Protocol;
use qcc_gateway::domain::finding::Asked;
use qcc_gateway::domain::registry::Outputs;
use qcc_gateway::domain::schedule::{AtHome, AtOnce, Failed, Passed, Subject};

use super::chance::{self, one_in};
use super::effects::Followed;
use super::steps::LOST;
use super::world::{Conversation, News, Talk, ToVerifier, World};

/// How much news is kept to come again.
const OLD: usize = 16;

/// How an endpoint takes part in a test conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    SendsTheCode,
    SendsAnotherCode,
    EchoesTheQuestion,
    SendsTheCodeAsAnError,
    IsDown,
    /// It says nothing at all. Its conversation ends when it is broken off, or with the probe's time-out.
    NeverEnds,
}

const MANNERS: [Manner; 6] = [
    Manner::SendsTheCode,
    Manner::SendsTheCode,
    Manner::SendsAnotherCode,
    Manner::EchoesTheQuestion,
    Manner::SendsTheCodeAsAnError,
    Manner::IsDown,
];

impl Manner {
    pub(crate) fn any(rng: &mut Rng) -> Self {
        if one_in(rng, 16) { Self::NeverEnds } else { MANNERS[rng.usize(..MANNERS.len())] }
    }
}

impl World {
    pub(crate) fn deliver_to_verifier(&mut self) {
        let is_lost = self.lossy && one_in(&mut self.rng, LOST);
        match self.to_verifier.pop_front() {
            None => {}
            Some(ToVerifier::FailureList(_)) if is_lost => self.trace.note("a list of conversations is lost"),
            Some(ToVerifier::FailureList(jobs)) => {
                let rng = &mut self.rng;
                for void in self.schedule.update(&jobs, self.now, || rng.f64()) {
                    self.break_off(&void);
                }
            }
            Some(ToVerifier::Hasten(wanted)) if is_lost => self.trace.note(&format!("{wanted:?} is not hastened")),
            Some(ToVerifier::Hasten(wanted)) => self.schedule.hasten(&wanted, self.now),
            Some(ToVerifier::ForgetOthers(known)) => self.schedule.forget_others(&known),
            Some(ToVerifier::SetPolicy(policy)) => {
                let rng = &mut self.rng;
                self.schedule.set_policy(policy, self.now, || rng.f64());
            }
            Some(ToVerifier::Converse(subject)) => match self.schedule.start_now(&subject, self.now) {
                AtOnce::Begin { subject, void } => {
                    if let Some(void) = void {
                        self.break_off(&void);
                    }
                    self.conversation_starts(&subject);
                }
                AtOnce::UnderWay => assert!(self.talks.contains_key(&subject.conversation())),
                AtOnce::Stale => self.trace.met("an admin's verification of an older epoch"),
            },
        }
        assert_eq!(self.schedule.running(), self.talks.len(), "conversations under way");
    }

    fn break_off(&mut self, void: &Conversation) {
        self.trace.met("a conversation broken off");
        self.trace.note(&format!("the conversation {void:?} is broken off"));
        assert!(self.talks.remove(void).is_some(), "{void:?} was not under way");
        if self.hung.remove(void) {
            self.trace.met("a conversation broken off that would never have ended");
        }
    }

    pub(crate) fn start_due(&mut self) {
        for subject in self.schedule.start_due(self.now) {
            self.conversation_starts(&subject);
        }
    }

    fn conversation_starts(&mut self, subject: &Subject) {
        let (id, epoch) = subject.conversation();
        let task = self.schedule.counts_for(&id, epoch);
        self.trace.note(&format!("a conversation with {id} in {epoch:?} begins, for {task:?}"));
        assert!(self.talks.keys().all(|(other, _)| *other != id), "two conversations with {id}");
        self.conversed.insert(id.clone(), self.now);
        let code = Code::from_random(self.rng.u64(..));
        let (challenge, protocol) = (Challenge::new(id.clone(), epoch, code), subject.endpoint.protocol);
        self.talks.insert((id, epoch), Talk { challenge, code, protocol, model: subject.model.clone() });
    }

    pub(crate) fn conversation_ends(&mut self, key: &Conversation, manner: Manner) {
        if manner == Manner::NeverEnds {
            self.hung.insert(key.clone());
            self.trace.note(&format!("the conversation with {key:?} hangs"));
            return;
        }
        let Some(Talk { challenge, code, protocol, model }) = self.talks.remove(key) else { return };
        if self.hung.remove(key) {
            self.trace.met("a conversation that hung until its time-out");
        }
        self.trace.note(&format!("the conversation with {key:?} ends: {manner:?}"));
        let (status, text) = match manner {
            Manner::SendsTheCode => (200, format!("Here it is: {code}.")),
            Manner::SendsAnotherCode => (200, Code::from_random(self.rng.u64(..)).to_string()),
            Manner::EchoesTheQuestion => (200, challenge.prompt()),
            Manner::SendsTheCodeAsAnError => (500, code.to_string()),
            Manner::IsDown | Manner::NeverEnds => (503, String::new()),
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
        match challenge.judge(&Reply { protocol, status, body, asked: Asked::ANYTHING, elapsed }, Words::Left) {
            Verdict::Proven(proof) => {
                assert!(came_back, "{manner:?} was taken for a proof");
                self.passed.insert(key.clone());
                match self.schedule.passed(id, *epoch, self.now) {
                    Some(Passed::Recovered { .. }) => self.proofs.push_back(proof),
                    Some(Passed::Fit(purpose)) => {
                        self.news.push_back(News::Fit { id: id.clone(), epoch: *epoch, purpose, model });
                        // An opinion is no proof, but it would make one if anybody took it for that.
                        self.kept_proofs.push(proof);
                    }
                    None => self.kept_proofs.push(proof),
                }
            }
            Verdict::Unproven(unproven) => {
                assert!(!came_back, "the code came back, and yet: {unproven:?}");
                let (id, epoch, chance) = (id.clone(), *epoch, self.rng.f64());
                let failed = self.schedule.failed(&id, epoch, self.now, chance);
                self.trace.note(&format!("what follows: {failed:?}"));
                match failed {
                    Some(Failed::StillFailing(finished)) => {
                        self.news.push_back(News::StillFailing { id, epoch, finished });
                    }
                    Some(Failed::Unfit) => {
                        self.news.push_back(News::Unfit { id, epoch, error: unproven.error });
                    }
                    Some(Failed::OnceMore) => self.trace.met("a second opinion asked once more"),
                    Some(Failed::StillExhausted { .. }) => {
                        self.news.push_back(News::StillExhausted { id, epoch, model });
                    }
                    None => {}
                }
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
        let (began, was_doubted) = (self.now.before(proof.elapsed()), self.shadow.is_doubted(&id));
        let restores = self.shadow.restore(&id, epoch, began, self.now);
        if restores && was_doubted {
            self.trace.met("a forgiven isolation");
        }
        self.trace.met(if restores { "a proof that restores" } else { "a proof of an older epoch" });
        assert!(!restores || self.passed.contains(&(id.clone(), epoch)));
        let mut effects = Outputs::new();
        let ended = self.core.restore(proof, self.now, &mut effects);
        assert_eq!(ended.is_some(), restores, "what a proof of {epoch:?} does to {id}");
        let recovered = if restores { vec![id] } else { Vec::new() };
        assert_eq!(self.carry_out(effects, usize::from(restores)), Followed { recovered, ..Followed::default() });
    }

    pub(crate) fn deliver_news(&mut self) {
        let Some(news) = self.news.pop_front() else { return };
        if self.lossy && one_in(&mut self.rng, LOST) {
            self.trace.note(&format!("{news:?} is lost"));
            return;
        }
        if self.old_news.len() == OLD {
            self.old_news.remove(0);
        }
        self.old_news.push(news.clone());
        self.take_in(news);
    }

    /// News that the verifier has no reason to send, in the very epoch in which it would hurt: passing where one stands must
    /// not bring anybody back.
    pub(crate) fn unsent_news(&mut self) {
        let id = chance::any_id(&mut self.rng);
        let Some((epoch, _)) = self.shadow.known(&id) else { return };
        if self.shadow.isolated().contains(&id) {
            self.trace.met("an isolated one is said to be fit");
        }
        let model = chance::model(&mut self.rng);
        let news = match self.rng.u32(..3) {
            0 => News::Fit { id, epoch, purpose: AtHome::Opinion, model },
            1 => News::Fit { id, epoch, purpose: AtHome::EarlyReturn, model },
            _ => {
                let model = self.shadow.used_up(&id, self.now).unwrap_or(model);
                News::StillExhausted { id, epoch, model }
            }
        };
        self.take_in(news);
    }

    pub(crate) fn take_in(&mut self, news: News) {
        self.trace.note(&format!("{news:?} arrives"));
        let (mut effects, mut looks, mut isolated) = (Outputs::new(), 1, Vec::new());
        match news {
            News::Fit { id, epoch, purpose, model } => {
                self.core.fit(&id, epoch, purpose, model.as_ref(), self.now, &mut effects);
                let returns = (purpose == AtHome::EarlyReturn).then_some(&model);
                let has_ended = self.shadow.fit(&id, epoch, returns, self.now);
                self.trace.met(if has_ended { "an early return" } else { "one that is fit" });
                looks = usize::from(has_ended);
            }
            News::StillExhausted { id, epoch, model } => {
                self.core.still_exhausted(&id, epoch, model.as_ref(), self.now, &mut effects);
                self.shadow.still_used_up(&id, epoch, &model, self.now);
                self.trace.met("a window that is still used up");
                if self.shadow.used_up(&id, self.now).is_some_and(|next| next != model) {
                    self.trace.met("another used-up window's turn");
                }
                looks = 0;
            }
            News::Unfit { id, epoch, error } => {
                self.core.unfit(&id, epoch, error, self.now, &mut effects);
                let is_isolated = self.shadow.unfit(&id, epoch, self.now);
                looks = usize::from(is_isolated);
                self.trace.met(if is_isolated { "one that is unfit" } else { "an unfit one of an older epoch" });
                isolated.extend(is_isolated.then_some(id));
            }
            News::StillFailing { id, epoch, finished } => {
                self.core.still_failing(&id, epoch, &finished, self.now, &mut effects);
                self.shadow.still_failing(&id, epoch, finished.began, finished.next);
                self.trace.met("one that still fails");
            }
        }
        assert_eq!(self.carry_out(effects, looks), Followed { isolated, ..Followed::default() });
    }
}
