//! What the verifier does, and what comes of its news: lists, conversations and their ends.

use std::time::Duration;

use qcc_gateway::domain::challenge::{Challenge, Code, RecoveryProof, Reply, ReplyBody, Verdict};
use qcc_gateway::domain::classify::Words;
use qcc_gateway::domain::endpoint::Protocol;
use qcc_gateway::domain::finding::Asked;
use qcc_gateway::domain::ids::{EndpointId, Epoch};
use qcc_gateway::domain::outcome::ErrorNote;
use qcc_gateway::domain::registry::{Effect, Outputs};
use qcc_gateway::domain::schedule::{Failed, Passed, Task, VerifyJob};

use super::promises::Move;
use super::world::{Broken, News, World};

impl World {
    pub(crate) fn list(&mut self) -> Move {
        let list = self.lists.pop_front()?;
        self.tell(|| {
            let jobs = list.iter().map(|VerifyJob { subject, task }| {
                format!("{} in {:?} for {:?}", subject.endpoint.id, subject.epoch, task.purpose())
            });
            jobs.collect::<Vec<_>>().join(", ")
        });
        for void in self.schedule.update(&list, self.now, || 0.5) {
            self.tell(|| format!("the conversation with {} in {:?} is broken off", void.0, void.1));
            self.talks.retain(|talk| *talk != void);
        }
        self.heard = list;
        None
    }

    pub(crate) fn tick(&mut self, effects: &mut Outputs) -> Move {
        self.forget_who_left();
        self.core.tick(self.now, effects);
        effects.push(Effect::PublishJobs);
        None
    }

    pub(crate) fn begins(&mut self) -> Result<Move, Broken> {
        for subject in self.schedule.start_due(self.now) {
            let (id, epoch) = subject.conversation();
            self.tell(|| format!("a conversation with {id} in {epoch:?}"));
            if self.talks.iter().any(|(other, _)| *other == id) {
                return Err(format!("there are two conversations with {id}"));
            }
            self.talks.push((id, epoch));
        }
        self.talks.sort_unstable();
        Ok(None)
    }

    /// The conversation that ends.
    fn takes_talk(&mut self, endpoint: usize) -> Option<(EndpointId, Epoch)> {
        let index = self.talks.iter().position(|(id, _)| super::scope::index(id) == endpoint)?;
        Some(self.talks.remove(index))
    }

    pub(crate) fn conversation_passes(&mut self, endpoint: usize) -> Result<Move, Broken> {
        let Some((id, epoch)) = self.takes_talk(endpoint) else { return Ok(None) };
        let news = match self.schedule.passed(&id, epoch, self.now) {
            Some(Passed::Recovered { .. }) => News::Recovered(id, epoch),
            Some(Passed::Fit(purpose)) => News::Fit(id, epoch, purpose),
            None => return Err(format!("the conversation with {id} in {epoch:?} counts for nothing")),
        };
        self.news.push_back(news);
        Ok(None)
    }

    pub(crate) fn conversation_fails(&mut self, endpoint: usize) -> Move {
        let (id, epoch) = self.takes_talk(endpoint)?;
        match self.schedule.failed(&id, epoch, self.now, 0.5) {
            Some(Failed::StillFailing(finished)) => self.news.push_back(News::StillFailing(id, epoch, finished)),
            Some(Failed::Unfit) => self.news.push_back(News::Unfit(id, epoch, ErrorNote::new("no code"))),
            Some(Failed::OnceMore | Failed::StillExhausted { .. }) | None => {}
        }
        None
    }

    pub(crate) fn news_arrives(&mut self, effects: &mut Outputs) -> Result<Move, Broken> {
        let Some(news) = self.news.pop_front() else { return Ok(None) };
        self.tell(|| format!("{news:?}"));
        let (id, epoch) = match &news {
            News::Recovered(id, epoch)
            | News::StillFailing(id, epoch, _)
            | News::Fit(id, epoch, _)
            | News::Unfit(id, epoch, _) => (id.clone(), *epoch),
        };
        let is_stale = !self.promises.is_present(&id, epoch);
        // When a conversation began is of use in any epoch.
        let is_void = is_stale && !matches!(news, News::StillFailing(..));
        let before = is_void.then(|| format!("{:?}", self.core));
        let moved = match news {
            News::Recovered(id, epoch) => {
                self.core.restore(proof(&id, epoch), self.now, effects);
                self.promises.proved(&id, epoch)
            }
            News::StillFailing(id, epoch, finished) => {
                self.core.still_failing(&id, epoch, &finished, self.now, effects);
                None
            }
            News::Fit(id, epoch, purpose) => {
                // No request here names a model.
                self.core.fit(&id, epoch, purpose, None, self.now, effects);
                None
            }
            News::Unfit(id, epoch, error) => {
                let is_it = |job: &VerifyJob| job.subject.endpoint.id == id && matches!(job.task, Task::Opinion { .. });
                let is_asked = self.core.conversations(self.now).iter().any(is_it);
                self.core.unfit(&id, epoch, error, self.now, effects);
                if is_asked { self.promises.isolates(&id, epoch) } else { None }
            }
        };
        if before.is_some_and(|before| before != format!("{:?}", self.core) || !effects.is_empty()) {
            return Err(format!("news of {epoch:?}, which is over, has changed something"));
        }
        Ok(moved)
    }
}

/// A proof, come by honestly: a challenge that was answered with its code.
fn proof(endpoint: &EndpointId, epoch: Epoch) -> RecoveryProof {
    let code = Code::from_random(7);
    let body = format!(r#"{{"content":[{{"type":"text","text":"{code}"}}]}}"#);
    let body = ReplyBody::Whole(body.as_bytes());
    let reply =
        Reply { protocol: Protocol::Anthropic, status: 200, body, asked: Asked::ANYTHING, elapsed: Duration::ZERO };
    match Challenge::new(endpoint.clone(), epoch, code).judge(&reply, Words::Left) {
        Verdict::Proven(proof) => proof,
        Verdict::Unproven(unproven) => panic!("the code was not accepted: {unproven:?}"),
    }
}
