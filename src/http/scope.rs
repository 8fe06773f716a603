//! One request and one attempt, from their beginning to their end, however they end: counted, logged and settled once.

use std::cell::{Cell, OnceCell};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::Method;
use actix_web::http::header::HeaderMap;
use log::kv::{ToValue, Value};
use tokio::time::Instant;

use super::auth::Place;
use super::silence::Silence;
use super::tracing::{AttemptFacts, AttemptTrace, RequestFacts, RequestTrace};
use crate::actors::Core;
use crate::actors::lease::Lease;
use crate::actors::messages::Note;
use crate::clock::Clock;
use crate::domain::classify::Judgement;
use crate::domain::conversation::Manner;
use crate::domain::endpoint::Endpoint;
use crate::domain::ids::{ClientId, EndpointId, ProfileId};
use crate::domain::limits::Limits;
use crate::domain::outcome::{ErrorNote, Outcome, Reason, Report};
use crate::domain::outcome_table::{Class, PathKind};
use crate::domain::stats::{AllowancesRecord, AttemptRecord, RequestEnd, RequestRecord};
use crate::domain::time::Moment;
use crate::domain::trail::Trail;
use crate::domain::usage::Usage;
use crate::upstream::HeaderLines;

/// What is known of a request from its head and body.
#[derive(Clone, Debug, Default)]
pub(super) struct Described {
    pub(super) id: String,
    pub(super) client: Option<ClientId>,
    pub(super) profile: Option<ProfileId>,
    pub(super) session: Option<String>,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) model: Option<Arc<str>>,
    /// From where its connection came.
    pub(super) peer: Option<IpAddr>,
}

/// A client's request. One that is dropped before its end, because its client has left, is counted as cancelled.
#[derive(Debug)]
pub(super) struct RequestScope {
    core: Arc<Core>,
    clock: Clock,
    began: Moment,
    pub(super) described: Described,
    trail: Trail,
    /// The trail in words, once somebody has asked for it.
    told_trail: OnceCell<String>,
    status: Option<u16>,
    upstream_request_id: Option<String>,
    first_piece: Option<Duration>,
    usage: Usage,
    flowing: bool,
    ended: bool,
    /// The client's place for it.
    place: Option<Place>,
    trace: Option<RequestTrace>,
}

impl RequestScope {
    /// A request whose head has just come.
    pub(super) fn begin(core: Arc<Core>, clock: Clock, described: Described, trace: Option<RequestTrace>) -> Self {
        Self {
            core,
            clock,
            began: clock.now(),
            described,
            trail: Trail::default(),
            told_trail: OnceCell::new(),
            status: None,
            upstream_request_id: None,
            first_piece: None,
            usage: Usage::default(),
            flowing: false,
            ended: false,
            place: None,
            trace,
        }
    }

    /// The span of the next attempt, where the request has one.
    pub(super) fn trace_attempt(&self, model: Option<&str>) -> Option<AttemptTrace> {
        self.trace.as_ref().map(|trace| trace.attempt(model, self.attempts()))
    }

    /// Keeps the client's place until the request ends.
    pub(super) fn occupy(&mut self, place: Place) {
        self.place = Some(place);
    }

    /// When the request came.
    pub(super) fn began(&self) -> Moment {
        self.began
    }

    /// The present moment.
    pub(super) fn now(&self) -> Moment {
        self.clock.now()
    }

    pub(super) fn attempts(&self) -> u32 {
        self.trail.attempts()
    }

    pub(super) fn last_endpoint(&self) -> Option<&EndpointId> {
        self.trail.last_endpoint()
    }

    /// Whom the attempts went to, and what came of each.
    pub(super) fn trail(&self) -> &str {
        self.told_trail.get_or_init(|| self.trail.words())
    }

    /// Adds an attempt to the trail, before anything has come of it.
    pub(super) fn try_endpoint(&mut self, endpoint: EndpointId, began: Moment) {
        self.told_trail.take();
        self.trail.begin(endpoint, began);
    }

    /// Takes the last attempt back: nothing was sent.
    pub(super) fn withdraw(&mut self) {
        self.told_trail.take();
        self.trail.withdraw();
    }

    /// Notes what has come of the last attempt.
    pub(super) fn tried(&mut self, judgement: &Judgement, elapsed: Duration) {
        self.told_trail.take();
        self.trail.end(judgement.label(), elapsed);
    }

    /// The last attempt's answer is being passed on; it is over only when the request is.
    pub(super) fn flows(&mut self) {
        self.flowing = true;
    }

    /// The last attempt is not waited for any longer.
    pub(super) fn cuts_short(&mut self, now: Moment) {
        self.told_trail.take();
        self.trail.cancel(self.flowing, now);
    }

    /// The client has not waited for what it was being sent, or for what was under way.
    fn left(&mut self) {
        let now = self.clock.now();
        self.cuts_short(now);
        self.end(RequestEnd::Cancelled, now, None);
    }

    /// Notes what the client is told, as soon as that is settled.
    pub(super) fn answered(&mut self, status: u16, upstream_request_id: Option<String>) {
        self.status = Some(status);
        self.upstream_request_id = upstream_request_id;
    }

    /// Notes that a piece of the answer has come; the first one counts.
    pub(super) fn piece(&mut self) {
        if self.first_piece.is_none() {
            self.first_piece_at(self.clock.now());
        }
    }

    /// Notes when the first piece of the answer has come.
    pub(super) fn first_piece_at(&mut self, now: Moment) {
        self.first_piece = Some(now.since(self.began));
    }

    /// Notes what the answer has cost by what it has said so far.
    pub(super) fn costs(&mut self, usage: Usage) {
        self.usage = usage;
    }

    /// The answer was passed on whole. `last`: its attempt, where that has ended with it.
    pub(super) fn end_whole(mut self, last: Option<AttemptRecord>, now: Moment) {
        let end = match self.status {
            Some(200..=299) => RequestEnd::Successful,
            // A rate limit that reached the client is the gateway's failure to find room, not the client's fault.
            Some(429) => RequestEnd::Failed,
            Some(400..=499) => RequestEnd::Rejected,
            Some(_) | None => RequestEnd::Failed,
        };
        self.end(end, now, last);
    }

    /// It was refused for what its client has done.
    pub(super) fn end_rejected(mut self, now: Moment) {
        self.end(RequestEnd::Rejected, now, None);
    }

    /// The answer was broken off.
    pub(super) fn end_broken(mut self, now: Moment) {
        self.end(RequestEnd::Failed, now, None);
    }

    fn end(&mut self, end: RequestEnd, at: Moment, last: Option<AttemptRecord>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.place = None;
        let elapsed = at.since(self.began);
        let Described { client, profile, .. } = &self.described;
        let (attempts, client, profile) = (self.attempts(), client.clone(), profile.clone());
        let record = RequestRecord { end, at, elapsed, attempts, client, profile };
        self.core.stats.do_send(Note::Request(record, last));
        self.log(end, elapsed);
        if let Some(trace) = self.trace.take() {
            trace.end(&RequestFacts {
                described: &self.described,
                began: self.began,
                ended: at,
                end,
                status: self.status,
                attempts: self.attempts(),
                endpoint: self.last_endpoint(),
                first_piece: self.first_piece,
            });
        }
    }

    /// The request's log line.
    fn log(&self, end: RequestEnd, elapsed: Duration) {
        let Described { id, client, session, method, path, model, peer, .. } = &self.described;
        // Read by the line alone, so that they are made only if it is written.
        let status = || match (end, self.status) {
            (RequestEnd::Cancelled, _) => "cancelled".to_value(),
            (_, Some(status)) => Value::from(status),
            (_, None) => Value::null(),
        };
        // Where an answer says nothing of its tokens, nothing is known of them.
        let known = |count: u64| Some(count).filter(|count| *count > 0);
        let trail = || Some(self.trail()).filter(|trail| !trail.is_empty());
        log::info!(
            id = id.as_str(),
            client = client.as_ref().map(ClientId::as_str),
            session = session.as_deref(),
            method = method.as_str(),
            path = path.as_str(),
            model = model.as_deref(),
            status = status(),
            endpoint = self.last_endpoint().map(EndpointId::as_str),
            upstream_request_id = self.upstream_request_id.as_deref(),
            attempts = self.attempts(),
            ms = millis(elapsed),
            ttft_ms = self.first_piece.map(millis),
            tokens_in = known(self.usage.read()),
            tokens_out = known(self.usage.output),
            trail = trail(),
            peer = peer.as_ref().map(Value::from_display);
            "request"
        );
    }
}

/// Whole milliseconds.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Drop for RequestScope {
    fn drop(&mut self) {
        if !self.ended {
            self.left();
        }
    }
}

/// For whom an attempt is made, and which model is asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub(super) client: Option<ClientId>,
    pub(super) model: Option<Arc<str>>,
}

/// One attempt. One that is dropped before its end, because the client has left, is counted and settled as cancelled.
#[derive(Debug)]
pub(super) struct AttemptScope {
    core: Arc<Core>,
    clock: Clock,
    began: Moment,
    endpoint: Arc<Endpoint>,
    path: PathKind,
    lease: Option<Lease>,
    silence: Silence,
    manner: Cell<Manner>,
    asked: Asked,
    usage: Cell<Usage>,
    first_content: Cell<Option<Duration>>,
    trace: Option<AttemptTrace>,
}

impl AttemptScope {
    /// An attempt that begins now. `suspect`: an endpoint that is silent for longer is, if the client leaves.
    pub(super) fn begin(
        request: &RequestScope,
        lease: Lease,
        path: PathKind,
        suspect: Duration,
        asked: Asked,
        began: Moment,
    ) -> Self {
        // Of other paths nobody knows for how long they may be silent.
        let suspect = match path {
            PathKind::Llm => suspect,
            PathKind::CountTokens | PathKind::Other => Duration::MAX,
        };
        let (core, clock) = (Arc::clone(&request.core), request.clock);
        let endpoint = Arc::clone(lease.endpoint());
        let silence = Silence::new(suspect, began);
        let (manner, usage, first_content) = (Cell::default(), Cell::default(), Cell::default());
        let lease = Some(lease);
        Self { core, clock, began, endpoint, path, lease, silence, manner, asked, usage, first_content, trace: None }
    }

    /// The same with a span, where its request has one.
    pub(super) fn traced(mut self, trace: Option<AttemptTrace>) -> Self {
        self.trace = trace;
        self
    }

    /// What kind of path it is for.
    pub(super) fn path(&self) -> PathKind {
        self.path
    }

    /// Has the endpoint know of the trace, where there is one.
    pub(super) fn mark(&self, headers: &mut HeaderLines<'_>) {
        if let Some(trace) = &self.trace {
            trace.mark(headers, &self.endpoint);
        }
    }

    /// The head of an answer has come.
    pub(super) fn answered(&self, status: u16, headers: &HeaderMap) {
        if let Some(trace) = &self.trace {
            trace.answered(status, headers);
        }
    }

    /// Its answer is to come in this manner, or does.
    pub(super) fn comes_in(&self, manner: Manner) {
        self.manner.set(manner);
    }

    /// How its answer is to come, or comes.
    pub(super) fn manner(&self) -> Manner {
        self.manner.get()
    }

    /// The endpoint is waited for from now on: it has just sent something, or only now it is looked at again.
    pub(super) fn waits_for_endpoint(&self, now: Moment) {
        self.silence.begins(now);
    }

    /// The endpoint has sent something, and nothing more is asked of it before the client has taken that.
    pub(super) fn waits_for_client(&self) {
        self.silence.ends();
    }

    pub(super) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    pub(super) fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// The clock that it goes by.
    pub(super) fn clock(&self) -> Clock {
        self.clock
    }

    /// The present moment.
    pub(super) fn now(&self) -> Moment {
        self.clock.now()
    }

    /// When it began, as the timers have it.
    pub(super) fn began(&self) -> Instant {
        self.clock.instant(self.began).into()
    }

    /// How long it took up to this moment.
    pub(super) fn elapsed(&self, now: Moment) -> Duration {
        now.since(self.began)
    }

    /// Notes what the answer has cost by what it has said so far.
    pub(super) fn costs(&self, usage: Usage) {
        self.usage.set(usage);
    }

    /// What the answer has cost so far.
    pub(super) fn usage(&self) -> Usage {
        self.usage.get()
    }

    /// Notes that a stream has content; its first one counts.
    pub(super) fn content(&self) {
        if self.first_content.get().is_none() {
            self.first_content.set(Some(self.elapsed(self.now())));
        }
    }

    /// What the headers of the attempt's answer say of limits. The stats are told at once: a stream may take minutes, and
    /// what its head said is old when it ends.
    pub(super) fn limits(&self, headers: &HeaderMap) -> Limits {
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
    pub(super) fn end(mut self, judgement: &Judgement, now: Moment) {
        let record = self.settle_as_judged(judgement, now);
        self.count(record);
    }

    /// Settles the attempt, and leaves it to the caller to have it counted.
    pub(super) fn settled(mut self, judgement: &Judgement, now: Moment) -> Option<AttemptRecord> {
        self.settle_as_judged(judgement, now)
    }

    /// Has an attempt counted whose request goes on, or is counted by itself.
    fn count(&self, record: Option<AttemptRecord>) {
        if let Some(record) = record {
            self.core.stats.do_send(Note::Attempt(record));
        }
    }

    fn settle_as_judged(&mut self, judgement: &Judgement, now: Moment) -> Option<AttemptRecord> {
        let outcome = judgement.rule(self.path).outcome;
        let error = judgement.error.clone();
        let opinion = judgement.class.opinion(self.path);
        self.settle(Report { outcome, error, throttle: judgement.throttle, opinion }, Some(judgement), now)
    }

    /// Gives the lease back unused: its endpoint has moved meanwhile, and nothing was sent.
    pub(super) fn withdraw(mut self) {
        if let Some(lease) = self.lease.take() {
            lease.settle(Report::of(Outcome::Neutral));
        }
    }

    /// Without a judgement it was cancelled.
    fn settle(&mut self, report: Report, judgement: Option<&Judgement>, now: Moment) -> Option<AttemptRecord> {
        let lease = self.lease.take()?;
        let (outcome, error) = (report.outcome, report.error.clone());
        lease.settle(Report { outcome: self.path.for_health(outcome), ..report });
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
        Some(AttemptRecord {
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
        })
    }
}

impl Drop for AttemptScope {
    fn drop(&mut self) {
        if self.lease.is_none() {
            return;
        }
        let now = self.clock.now();
        let opinion = self.silence.is_suspect(now).then_some(Reason::Timeout);
        let error = opinion.map(|_| ErrorNote::new("silent until the client left").seen_in(self.manner()));
        let record = self.settle(Report { error, opinion, ..Report::of(Outcome::Cancelled) }, None, now);
        self.count(record);
    }
}
