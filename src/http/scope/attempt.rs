//! One attempt, from its beginning to its end, however it ends: counted and settled once.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::HeaderMap;
use tokio::time::Instant;

use super::super::silence::Silence;
use super::super::tracing::{AttemptFacts, AttemptTrace};
use super::RequestScope;
use crate::actors::Core;
use crate::actors::lease::Lease;
use crate::actors::messages::Note;
use crate::clock::Clock;
use crate::domain::classify::Judgement;
use crate::domain::conversation::Manner;
use crate::domain::endpoint::Endpoint;
use crate::domain::ids::ClientId;
use crate::domain::limits::Limits;
use crate::domain::outcome::{ErrorNote, Outcome, Reason, Report};
use crate::domain::outcome_table::{Class, PathKind};
use crate::domain::stats::{AllowancesRecord, AttemptRecord};
use crate::domain::time::Moment;
use crate::domain::usage::Usage;
use crate::upstream::HeaderLines;

/// Which client an attempt is made for, and which model is asked.
#[derive(Clone, Debug, Default)]
pub(in crate::http) struct Asked {
    pub(in crate::http) client: Option<ClientId>,
    pub(in crate::http) model: Option<Arc<str>>,
}

/// One attempt. If dropped before its end, because the client has left, it is counted and settled as cancelled.
#[derive(Debug)]
pub(in crate::http) struct AttemptScope {
    core: Arc<Core>,
    clock: Clock,
    began: Moment,
    endpoint: Arc<Endpoint>,
    path: PathKind,
    lease: Lease,
    silence: Silence,
    manner: Cell<Manner>,
    asked: Asked,
    usage: Cell<Usage>,
    first_content: Cell<Option<Duration>>,
    trace: Option<AttemptTrace>,
}

impl AttemptScope {
    /// An attempt that began at `began`. An endpoint that is silent for longer than `suspect` is suspect if the client
    /// leaves.
    pub(in crate::http) fn begin(
        request: &RequestScope,
        lease: Lease,
        path: PathKind,
        suspect: Duration,
        asked: Asked,
        began: Moment,
    ) -> Self {
        // How long other paths may be silent is not known.
        let suspect = match path {
            PathKind::Llm => suspect,
            PathKind::CountTokens | PathKind::Other => Duration::MAX,
        };
        let (core, clock) = (Arc::clone(&request.core), request.clock);
        let endpoint = Arc::clone(lease.endpoint());
        let silence = Silence::new(suspect, began);
        let (manner, usage, first_content) = (Cell::default(), Cell::default(), Cell::default());
        Self { core, clock, began, endpoint, path, lease, silence, manner, asked, usage, first_content, trace: None }
    }

    /// Adds the attempt's span, if its request has one.
    pub(in crate::http) fn traced(mut self, trace: Option<AttemptTrace>) -> Self {
        self.trace = trace;
        self
    }

    /// The kind of path that the attempt is for.
    pub(in crate::http) fn path(&self) -> PathKind {
        self.path
    }

    /// Passes the trace's context on to the endpoint, if there is a trace.
    pub(in crate::http) fn mark(&self, headers: &mut HeaderLines<'_>) {
        if let Some(trace) = &self.trace {
            trace.mark(headers, &self.endpoint);
        }
    }

    /// Notes that the head of an answer has come.
    pub(in crate::http) fn answered(&self, status: u16, headers: &HeaderMap) {
        if let Some(trace) = &self.trace {
            trace.answered(status, headers);
        }
    }

    /// Notes the manner in which its answer is to come, or comes.
    pub(in crate::http) fn comes_in(&self, manner: Manner) {
        self.manner.set(manner);
    }

    /// The manner in which its answer is to come, or comes.
    pub(in crate::http) fn manner(&self) -> Manner {
        self.manner.get()
    }

    /// Notes that the endpoint is waited for from now on: it has just sent something, or is polled again only now.
    pub(in crate::http) fn waits_for_endpoint(&self, now: Moment) {
        self.silence.begins(now);
    }

    /// Notes that the endpoint has sent something, and that nothing more is asked of it before the client has taken that.
    /// Returns how long it was waited for.
    pub(in crate::http) fn waits_for_client(&self, now: Moment) -> Duration {
        self.silence.ends(now)
    }

    pub(in crate::http) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    pub(in crate::http) fn lease(&self) -> &Lease {
        &self.lease
    }

    /// The clock that it goes by.
    pub(in crate::http) fn clock(&self) -> Clock {
        self.clock
    }

    /// The present moment.
    pub(in crate::http) fn now(&self) -> Moment {
        self.clock.now()
    }

    /// When it began, on the timers' clock.
    pub(in crate::http) fn began(&self) -> Instant {
        self.clock.instant(self.began).into()
    }

    /// How long it took up to this moment.
    pub(in crate::http) fn elapsed(&self, now: Moment) -> Duration {
        now.since(self.began)
    }

    /// Notes the answer's usage, as far as it has said so.
    pub(in crate::http) fn costs(&self, usage: Usage) {
        self.usage.set(usage);
    }

    /// The answer's usage so far.
    pub(in crate::http) fn usage(&self) -> Usage {
        self.usage.get()
    }

    /// Notes that a stream has content; the first time counts.
    pub(in crate::http) fn content(&self) {
        if self.first_content.get().is_none() {
            self.first_content.set(Some(self.elapsed(self.now())));
        }
    }

    /// What the headers of the attempt's answer say of limits. The stats are told at once: a stream may take minutes, and
    /// what its head said is old when it ends.
    pub(in crate::http) fn limits(&self, headers: &HeaderMap) -> Limits {
        let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let limits = Limits::of(headers, self.clock.since_1970());
        let seen: Vec<(String, String)> =
            limits.allowances().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        if !seen.is_empty() {
            self.core.stats.do_send(Note::Allowances(AllowancesRecord { endpoint: Arc::clone(&self.endpoint), seen }));
        }
        limits
    }

    /// Counts and settles the attempt.
    pub(in crate::http) fn end(mut self, judgement: &Judgement, now: Moment) {
        let record = self.settle_as_judged(judgement, now);
        self.count(record);
    }

    /// Settles the attempt, and leaves it to the caller to have it counted.
    pub(in crate::http) fn settled(mut self, judgement: &Judgement, now: Moment) -> AttemptRecord {
        self.settle_as_judged(judgement, now)
    }

    /// Reports an attempt whose request goes on, or is counted separately.
    fn count(&self, record: AttemptRecord) {
        self.core.stats.do_send(Note::Attempt(record));
    }

    fn settle_as_judged(&mut self, judgement: &Judgement, now: Moment) -> AttemptRecord {
        let outcome = judgement.rule(self.path).outcome;
        let error = judgement.error.clone();
        let opinion = judgement.class.opinion(self.path);
        self.settle(Report { outcome, error, throttle: judgement.throttle, opinion }, Some(judgement), now)
    }

    /// Gives the lease back unused: nothing was sent, because its endpoint has moved or the request can't be written.
    pub(in crate::http) fn withdraw(mut self) {
        self.lease.settle(Report::of(Outcome::Neutral));
    }

    /// Settles the lease, and makes the record. Without a judgement, the attempt was cancelled.
    fn settle(&mut self, report: Report, judgement: Option<&Judgement>, now: Moment) -> AttemptRecord {
        let (outcome, error) = (report.outcome, report.error.clone());
        self.lease.settle(Report { outcome: self.path.for_health(outcome), ..report });
        let (class, status) = judgement.map_or((Class::Cancelled, None), |came| (came.class, came.status));
        let usage = self.usage.get();
        let is_answer = self.path == PathKind::Llm && (class == Class::Success || !usage.is_none());
        if let Some(trace) = self.trace.take() {
            trace.end(&AttemptFacts {
                endpoint: &self.endpoint,
                judgement,
                began: self.began,
                ended: now,
                usage,
                first_content: self.first_content.get(),
            });
        }
        let Asked { client, model } = std::mem::take(&mut self.asked);
        AttemptRecord {
            endpoint: Arc::clone(&self.endpoint),
            client,
            model,
            class,
            status,
            outcome,
            elapsed: self.elapsed(now),
            first_content: self.first_content.get(),
            usage: is_answer.then_some(usage),
            error,
        }
    }
}

impl Drop for AttemptScope {
    fn drop(&mut self) {
        if self.lease.is_settled() {
            return;
        }
        let now = self.clock.now();
        let opinion = self.silence.is_suspect(now).then_some(Reason::Timeout);
        let error = opinion.map(|_| ErrorNote::new("silent until the client left").seen_in(self.manner()));
        let record = self.settle(Report { error, opinion, ..Report::of(Outcome::Cancelled) }, None, now);
        self.count(record);
    }
}
