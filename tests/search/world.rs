//! The real cores and everything that is on its way between them: one state of the search.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use qcc_gateway::domain::breaker::{BreakerBank, Ruling};
use qcc_gateway::domain::ids::{EndpointId, Epoch, Ticket};
use qcc_gateway::domain::outcome::ErrorNote;
use qcc_gateway::domain::registry::{Grant, Observation, Outputs, RegistryCore, WaiterId};
use qcc_gateway::domain::schedule::{AtHome, Finished, Schedule, VerifyJob};
use qcc_gateway::domain::time::Moment;
use qcc_gateway::domain::topology::Topology;

use super::promises::Promises;
use super::scope::{BEGINNING, Scope, endpoint, index, registry_policy, schedule_policy};
use super::worker::{Stage, Worker};

/// What is broken, in words.
pub(crate) type Broken = String;

/// A message in the breakers' mailbox.
#[derive(Clone, Debug)]
pub(crate) enum ToBreakers {
    Observe(Observation),
    Retract(Ticket),
}

impl ToBreakers {
    fn ticket(&self) -> &Ticket {
        match self {
            Self::Observe(observation) => &observation.ticket,
            Self::Retract(ticket) => ticket,
        }
    }
}

/// What the verifier tells the registry.
#[derive(Clone, Debug)]
pub(crate) enum News {
    /// A proof can't be copied with the state that it is in: it is made where it arrives, of the conversation that it is of.
    Recovered(EndpointId, Epoch),
    StillFailing(EndpointId, Epoch, Finished),
    Fit(EndpointId, Epoch, AtHome),
    Unfit(EndpointId, Epoch, ErrorNote),
}

/// A conversation under way.
pub(crate) type Talk = (EndpointId, Epoch);

pub(crate) struct World {
    pub(crate) scope: Scope,
    pub(crate) now: Moment,
    pub(crate) core: RegistryCore,
    pub(crate) bank: BreakerBank,
    pub(crate) schedule: Schedule,
    /// Which service each endpoint is by the settings.
    pub(crate) settings: [Option<usize>; 2],
    pub(crate) workers: Vec<Worker>,
    /// Those who wait whose client has left; the registry has not noticed yet.
    pub(crate) left: Vec<WaiterId>,
    /// Leases for those who left, which give themselves back.
    pub(crate) dropped: VecDeque<Grant>,

    pub(crate) to_breakers: VecDeque<ToBreakers>,
    /// Apart from the others, for no order of the two may matter; of each endpoint the latest.
    pub(crate) resets: BTreeMap<EndpointId, Epoch>,
    pub(crate) verdicts: VecDeque<(Ticket, Ruling)>,
    pub(crate) lists: VecDeque<Vec<VerifyJob>>,
    /// The latest list that the verifier has got.
    pub(crate) heard: Vec<VerifyJob>,
    pub(crate) talks: Vec<Talk>,
    pub(crate) news: VecDeque<News>,

    pub(crate) requests_left: Option<u8>,
    pub(crate) leavers_left: u8,
    pub(crate) switches_left: u8,
    pub(crate) reloads_left: u8,

    pub(crate) promises: Promises,
    /// What the latest step was, in words; told on the way to a broken promise alone.
    pub(crate) story: Option<Vec<String>>,
}

impl World {
    pub(crate) fn new(scope: Scope) -> Self {
        let mut world = Self {
            scope,
            now: BEGINNING,
            core: RegistryCore::new(registry_policy()),
            bank: BreakerBank::default(),
            schedule: Schedule::new(schedule_policy()),
            settings: [Some(0); 2],
            workers: vec![Worker::default(); scope.workers],
            left: Vec::new(),
            dropped: VecDeque::new(),
            to_breakers: VecDeque::new(),
            resets: BTreeMap::new(),
            verdicts: VecDeque::new(),
            lists: VecDeque::new(),
            heard: Vec::new(),
            talks: Vec::new(),
            news: VecDeque::new(),
            requests_left: scope.requests,
            leavers_left: scope.leavers,
            switches_left: scope.switches,
            reloads_left: scope.reloads,
            promises: Promises::default(),
            story: None,
        };
        world.core.apply(world.topology(), world.now, &mut Outputs::new());
        world.promises.begin(&world.core.view(world.now));
        world
    }

    /// A copy that goes its own way.
    pub(crate) fn fork(&self) -> Self {
        let (mut workers, mut dropped) = (self.workers.clone(), self.dropped.clone());
        let held = workers.iter_mut().filter_map(Worker::grant_mut).chain(&mut dropped);
        let core = self.core.fork(held);
        Self {
            scope: self.scope,
            now: self.now,
            core,
            bank: self.bank.clone(),
            schedule: self.schedule.clone(),
            settings: self.settings,
            workers,
            left: self.left.clone(),
            dropped,
            to_breakers: self.to_breakers.clone(),
            resets: self.resets.clone(),
            verdicts: self.verdicts.clone(),
            lists: self.lists.clone(),
            heard: self.heard.clone(),
            talks: self.talks.clone(),
            news: self.news.clone(),
            requests_left: self.requests_left,
            leavers_left: self.leavers_left,
            switches_left: self.switches_left,
            reloads_left: self.reloads_left,
            promises: self.promises.clone(),
            story: None,
        }
    }

    /// The settings as they are now.
    pub(crate) fn topology(&self) -> Arc<Topology> {
        let defined = self.settings.iter().zip(self.scope.homes).enumerate();
        Arc::new(Topology::new(
            defined.filter_map(|(which, (service, home))| service.map(|service| endpoint(which, service, home))),
        ))
    }

    /// Says what happens, if anybody listens.
    pub(crate) fn tell(&mut self, words: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(words());
        }
    }

    /// The list is sent, unless the verifier knows it or will. Where no more can be on their way it takes the place of the
    /// latest, as if that had been lost.
    pub(crate) fn publish(&mut self) {
        let list = self.core.conversations(self.now);
        if *self.lists.back().unwrap_or(&self.heard) == list {
            return;
        }
        if self.lists.len() == self.scope.lists {
            self.lists.pop_back();
        }
        self.lists.push_back(list);
    }

    /// Whether reports are on their way to the breakers of an epoch of this endpoint that is over.
    pub(crate) fn will_hear_of_the_past(&self, endpoint: usize) -> bool {
        self.to_breakers.iter().map(ToBreakers::ticket).any(|ticket| {
            index(&ticket.endpoint) == endpoint && !self.promises.is_present(&ticket.endpoint, ticket.epoch)
        })
    }

    /// To be told to start anew makes no difference to a breaker that will not hear of the past.
    pub(crate) fn forget_idle_resets(&mut self) {
        let resets = std::mem::take(&mut self.resets);
        self.resets = resets.into_iter().filter(|(id, _)| self.will_hear_of_the_past(index(id))).collect();
    }

    /// Whether nothing is held, parked, leased or on its way.
    pub(crate) fn is_at_rest(&self) -> bool {
        let view = self.core.view(self.now);
        let is_quiet = view.waiting == 0 && view.endpoints.iter().all(|seen| !seen.held && seen.in_flight == 0);
        let are_idle = self.workers.iter().all(|worker| matches!(worker.stage, Stage::Idle));
        let is_silent = self.to_breakers.is_empty() && self.verdicts.is_empty() && self.dropped.is_empty();
        is_quiet && are_idle && is_silent
    }

    /// Whether no endpoint that is switched on is in the failure queue.
    pub(crate) fn is_recovered(&self) -> bool {
        self.core.failures().is_empty()
    }
}
