//! One request, from its beginning to its end, however it ends: counted and logged once. Its attempts are in `attempt.rs`.

mod attempt;

use std::cell::OnceCell;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::Method;
use log::kv::{ToValue, Value};

pub(super) use attempt::{Asked, AttemptScope};

use super::auth::InFlightPlace;
use super::tracing::{AttemptTrace, RequestFacts, RequestTrace};
use crate::actors::Core;
use crate::actors::messages::Note;
use crate::clock::Clock;
use crate::domain::classify::Judgement;
use crate::domain::ids::{ClientId, EndpointId, ProfileId};
use crate::domain::outcome_table::Class;
use crate::domain::stats::{AttemptRecord, RequestEnd, RequestRecord};
use crate::domain::time::{Moment, whole_millis};
use crate::domain::trail::Trail;
use crate::domain::usage::Usage;

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
    /// The address that its connection came from.
    pub(super) peer: Option<IpAddr>,
}

/// A client's request. If dropped before its end, because its client has left, it counts as cancelled.
#[derive(Debug)]
pub(super) struct RequestScope {
    core: Arc<Core>,
    clock: Clock,
    began: Moment,
    pub(super) described: Described,
    trail: Trail,
    /// The trail in words, once somebody has asked for them.
    told_trail: OnceCell<String>,
    status: Option<u16>,
    upstream_request_id: Option<String>,
    first_piece: Option<Duration>,
    usage: Usage,
    flowing: bool,
    ended: bool,
    /// The place that it takes among its client's.
    place: Option<InFlightPlace>,
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

    /// The span of the next attempt, if the request has one.
    pub(super) fn trace_attempt(&self, model: Option<&str>) -> Option<AttemptTrace> {
        self.trace.as_ref().map(|trace| trace.attempt(model, self.attempts()))
    }

    /// Keeps the client's place until the request ends.
    pub(super) fn occupy(&mut self, place: InFlightPlace) {
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

    /// Which endpoints the attempts went to, and what came of each.
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

    /// Notes that the last attempt's answer is being passed on; that attempt ends only with the request.
    pub(super) fn flows(&mut self) {
        self.flowing = true;
    }

    /// Notes that the last attempt is no longer waited for.
    pub(super) fn cuts_short(&mut self, now: Moment) {
        self.told_trail.take();
        self.trail.cancel(self.flowing, now);
    }

    /// Ends the request because the client left before its answer, or the end of it.
    fn left(&mut self) {
        let now = self.clock.now();
        self.cuts_short(now);
        self.end(RequestEnd::Cancelled, now, None);
    }

    /// Notes the status that the client gets, and the upstream's id of the answer, as soon as they are settled.
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

    /// Notes the answer's usage, as far as it has said so.
    pub(super) fn costs(&mut self, usage: Usage) {
        self.usage = usage;
    }

    /// Ends the request: an endpoint's answer of this class was passed on whole. `last` is its attempt, if that ended
    /// with it.
    pub(super) fn end_whole(mut self, class: Class, last: Option<AttemptRecord>, now: Moment) {
        self.end(RequestEnd::of_answer(self.status, Some(class)), now, last);
    }

    /// Ends the request: it was answered by the gateway itself.
    pub(super) fn end_own(mut self, now: Moment) {
        self.end(RequestEnd::of_answer(self.status, None), now, None);
    }

    /// Ends the request: it was refused for what its client has done.
    pub(super) fn end_rejected(mut self, now: Moment) {
        self.end(RequestEnd::Rejected, now, None);
    }

    /// Ends the request: its answer was broken off.
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

    /// Writes the request's log line.
    fn log(&self, end: RequestEnd, elapsed: Duration) {
        let Described { id, client, session, method, path, model, peer, .. } = &self.described;
        // Called within the macro, so that they run only if the line is written.
        let status = || match (end, self.status) {
            (RequestEnd::Cancelled, _) => "cancelled".to_value(),
            (_, Some(status)) => Value::from(status),
            (_, None) => Value::null(),
        };
        // An answer that says nothing of its tokens leaves 0: then nothing is known of them.
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
            outcome = end.as_str(),
            endpoint = self.last_endpoint().map(EndpointId::as_str),
            upstream_request_id = self.upstream_request_id.as_deref(),
            attempts = self.attempts(),
            ms = whole_millis(elapsed),
            ttft_ms = self.first_piece.map(whole_millis),
            tokens_in = known(self.usage.read()),
            tokens_out = known(self.usage.output),
            trail = trail(),
            peer = peer.as_ref().map(Value::from_display);
            "request"
        );
    }
}

impl Drop for RequestScope {
    fn drop(&mut self) {
        if !self.ended {
            self.left();
        }
    }
}
