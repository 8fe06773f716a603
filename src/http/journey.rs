//! One request's way through the endpoints: one attempt after another, until one answers.

use std::future::poll_fn;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::body::MessageBody;
use actix_web::http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use actix_web::http::{Method, StatusCode};
use serde_json::json;

use super::attempt::{AttemptEnd, Flowing, Task, WholeAnswer};
use super::body::{Recipient, whole_body};
use super::connection::ClientSide;
use super::content::read_off_thread;
use super::identity::upstream_request_id;
use super::intake::{Held, announced_length};
use super::names;
use super::reply::{HeadOnly, mark, passed_on, refuse, respond};
use super::scope::{Asked, AttemptScope, RequestScope};
use super::settling::Doubts;
use super::state::Serving;
use crate::actors::lease::Lease;
use crate::actors::messages::{Acquire, Doubt, Judged};
use crate::domain::error_object::ErrorObject;
use crate::domain::estimate::estimate_tokens;
use crate::domain::opinions::Fingerprint;
use crate::domain::outcome_table::{Class, PathKind};
use crate::domain::refusal::{Counts, ErrorShape, Refusal};
use crate::domain::registry::{Ask, Limit, NoEndpoint, Reach, Service, Turn};
use crate::domain::request_body::RequestBody;
use crate::domain::retry::{Ending, Plan};
use crate::domain::route::LlmPath;
use crate::domain::stats::AttemptRecord;
use crate::domain::time::Moment;

/// The longest request, in bytes, whose tokens are estimated on the spot, which takes a millisecond or two at most.
const LONGEST_WEIGHED_AT_ONCE: usize = 256 << 10;

/// What is to be proxied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Errand<'a> {
    /// The LLM path; `None` for a path of `server.other_paths`.
    pub(super) llm: Option<LlmPath>,
    /// What the endpoint is asked for: path and query, byte for byte.
    pub(super) target: &'a str,
}

impl Errand<'_> {
    pub(super) fn service(&self) -> Service {
        self.llm.map_or(Service::Other, |path| Service::Llm(path.protocol()))
    }

    pub(super) fn shape(&self) -> ErrorShape {
        ErrorShape::of(self.llm)
    }
}

/// One request's way through the endpoints.
pub(super) struct Journey<'a> {
    pub(super) worker: &'a Serving<'a>,
    pub(super) errand: Errand<'a>,
    pub(super) task: Task<'a>,
    pub(super) scope: RequestScope,
    pub(super) client: ClientSide,
    pub(super) ask: Ask,
    pub(super) plan: Plan<WholeAnswer>,
    /// When the whole request had come.
    pub(super) began: Moment,
    /// The request's share of the buffer budget, held while it may be sent again.
    pub(super) _held: Held,
}

/// How a journey has ended.
pub(super) enum JourneyEnd {
    /// With a whole answer that came at this moment, and the attempt that brought it.
    Whole(WholeAnswer, AttemptRecord, Moment),
    /// With an answer that is to be passed on as it comes.
    Flowing(Box<Flowing>, AttemptScope),
    /// With no further attempt; if that is for want of an endpoint, with the reason.
    Spent(Option<NoEndpoint>),
    /// With the gateway's own estimate of the tokens to be counted.
    Estimated(u64),
    /// With a refusal, whatever became of its attempts.
    Refused(Refusal),
}

/// The estimated number of tokens in a body.
fn weighed(body: &RequestBody) -> u64 {
    estimate_tokens(&body.as_one())
}

impl Journey<'_> {
    /// Makes attempts until it is known how the journey ends.
    pub(super) async fn run(&mut self) -> JourneyEnd {
        match self.attempts().await {
            JourneyEnd::Spent(none) if self.is_to_be_estimated(none.as_ref()) => {
                // Boxed, because few requests come here.
                let body = self.task.request.readable();
                JourneyEnd::Estimated(Box::pin(read_off_thread(body, LONGEST_WEIGHED_AT_ONCE, weighed)).await)
            }
            end => end,
        }
    }

    /// Makes one attempt after another.
    async fn attempts(&mut self) -> JourneyEnd {
        let mut now = self.began;
        let shared = &self.worker.shared;
        let suspect = self.worker.config.settings.timeouts.suspect;
        let mut doubts = Doubts { core: &*shared.core, held: None };
        while self.plan.may_try(now) {
            let (lease, granted_at) = match self.acquire(now).await {
                Ok(granted) => granted,
                Err(NotGranted::No(NoEndpoint::Stopping) | NotGranted::Stopping) => {
                    return JourneyEnd::Refused(Refusal::Stopping);
                }
                Err(NotGranted::No(none)) => return JourneyEnd::Spent(Some(none)),
            };
            self.plan.begin();
            let trace = self.scope.trace_attempt(self.task.request.model_for(lease.endpoint()));
            self.scope.try_endpoint(lease.endpoint().id.clone(), granted_at);
            let asked = Asked { client: self.ask.client.clone(), model: self.ask.model.clone() };
            let attempt = AttemptScope::begin(&self.scope, lease, self.task.path(), suspect, asked, granted_at);
            let attempt = attempt.traced(trace);
            let end = tokio::select! {
                end = self.task.attempt(self.worker.client, &attempt) => end,
                () = poll_fn(|cx| self.client.poll_drained(&shared.drain, cx)) => {
                    // Settled as cancelled by its drop: it was not the endpoint that ran out of time.
                    drop(attempt);
                    self.scope.cuts_short(shared.clock.now());
                    doubts.held = None;
                    return JourneyEnd::Refused(Refusal::Stopping);
                }
            };
            now = shared.clock.now();
            match end {
                AttemptEnd::Whole(answer, judgement) => {
                    if judgement.class == Class::Success {
                        doubts.held = None;
                    }
                    self.scope.tried(&judgement, attempt.elapsed(now));
                    self.scope.costs(attempt.usage());
                    let last = attempt.settled(&judgement, now);
                    return JourneyEnd::Whole(answer, last, now);
                }
                AttemptEnd::Flowing(flowing) => {
                    // From here on the doubts are the body's, which reports them if it breaks.
                    doubts.held = None;
                    return JourneyEnd::Flowing(flowing, attempt);
                }
                AttemptEnd::Failed(judgement, answer) => {
                    self.scope.tried(&judgement, attempt.elapsed(now));
                    let ticket = attempt.lease().ticket().clone();
                    let was_written = attempt.lease().was_written();
                    self.plan.failed(&ticket, &judgement, self.task.path(), answer, now);
                    attempt.end(&judgement, now);
                    // Includes this failure, in case the client leaves before the verdict.
                    doubts.held = self.doubt();
                    // The isolation that this failure may cause takes effect before the request goes on or is answered.
                    let _ = shared.core.registry.send(Judged(ticket.serial)).await;
                    if was_written && !self.may_be_sent_again() {
                        return JourneyEnd::Spent(None);
                    }
                    now = shared.clock.now();
                }
                AttemptEnd::Withdrawn => {
                    attempt.withdraw();
                    self.plan.withdraw();
                    self.scope.withdraw();
                }
                AttemptEnd::ClientOutOfTime => {
                    // Settled as cancelled by its drop: the client would be gone before more could come.
                    drop(attempt);
                    self.scope.cuts_short(now);
                    self.plan.timed_out();
                    return JourneyEnd::Spent(None);
                }
                AttemptEnd::Unsendable => {
                    attempt.withdraw();
                    self.scope.withdraw();
                    return JourneyEnd::Refused(Refusal::Malformed { what: "target" });
                }
            }
        }
        JourneyEnd::Spent(None)
    }

    /// The client's answer.
    pub(super) fn answer(self, end: JourneyEnd) -> HttpResponse {
        match end {
            JourneyEnd::Whole(answer, last, now) => self.answer_whole(answer, Some(last), now),
            JourneyEnd::Flowing(flowing, attempt) => self.answer_flowing(*flowing, attempt),
            JourneyEnd::Estimated(tokens) => self.answer_estimated(tokens),
            JourneyEnd::Spent(none) => self.conclude(none.as_ref()),
            JourneyEnd::Refused(refusal) => self.refuse(&refusal),
        }
    }

    /// Acquires a lease on an endpoint that the request was not sent to, or one that may serve it again, or after a pause
    /// one that has failed. Also returns when it was granted.
    async fn acquire(&mut self, asked_at: Moment) -> Result<(Lease, Moment), NotGranted> {
        let clock = self.worker.shared.clock;
        let answer = self.ask(self.plan.reach(asked_at)).await;
        let answered_at = clock.now();
        self.plan.waited(answered_at.since(asked_at));
        let pause = match answer {
            Err(NotGranted::No(NoEndpoint::GivenUp)) => self.plan.pause_before_repeat(fastrand::f64()),
            answer => return Ok((answer?, answered_at)),
        };
        let in_time = |pause: &Duration| self.plan.may_try(answered_at + *pause);
        let Some(pause) = pause.filter(in_time) else { return Err(NotGranted::No(NoEndpoint::GivenUp)) };
        let drain = &self.worker.shared.drain;
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = poll_fn(|cx| self.client.poll_drained(drain, cx)) => return Err(NotGranted::Stopping),
        }
        let lease = self.ask(Reach::Again).await?;
        Ok((lease, clock.now()))
    }

    async fn ask(&mut self, reach: Reach) -> Result<Lease, NotGranted> {
        self.ask.reach = reach;
        self.ask.tried = self.plan.tried();
        self.ask.turn = self.plan.turn();
        self.ask.is_last = self.plan.is_last();
        if self.ask.turn != Turn::First {
            self.fingerprint();
        }
        let (acquire, answer) = Acquire::new(self.ask.clone(), self.plan.failures().to_vec());
        self.worker.shared.core.registry.do_send(acquire);
        match answer.await {
            Ok(Ok(lease)) => Ok(lease),
            Ok(Err(none)) => Err(NotGranted::No(none)),
            Err(_) => Err(NotGranted::Stopping),
        }
    }

    /// Takes the request's fingerprint. It costs a pass over the body, so it is taken only when an attempt has failed.
    fn fingerprint(&mut self) {
        if self.ask.fingerprint.is_none() {
            let request = &self.task.request;
            let content = (&self.ask.client, &self.ask.profile, request.method, request.target, &request.body);
            self.ask.fingerprint = Some(Fingerprint(self.worker.shared.fingerprints.hash_one(content)));
        }
    }

    /// What the registry is told if no endpoint does better: some of the failures may be the request's own.
    fn doubt(&mut self) -> Option<Doubt> {
        if self.plan.failures().is_empty() {
            return None;
        }
        self.fingerprint();
        Some(Doubt { ask: self.ask.clone(), failures: self.plan.failures().to_vec() })
    }

    /// Whether a request that may have arrived can be repeated. On other paths that could do its work twice (RFC 9110,
    /// section 9.2.2).
    fn may_be_sent_again(&self) -> bool {
        self.errand.llm.is_some() || self.task.request.method.is_idempotent()
    }

    /// Whether a token count is asked for that the gateway itself may estimate. A model or path that no endpoint serves
    /// is a mistake that the client should hear of.
    fn is_to_be_estimated(&self, none: Option<&NoEndpoint>) -> bool {
        let is_mistaken = match none {
            Some(NoEndpoint::PathUnserved | NoEndpoint::ModelUnserved) => true,
            Some(NoEndpoint::ProfileGone) => self.ask.client.is_none(),
            Some(_) | None => false,
        };
        self.task.path() == PathKind::CountTokens && !is_mistaken
    }

    /// Answers with an estimate, so that no client fails for want of a count.
    fn answer_estimated(mut self, tokens: u64) -> HttpResponse {
        let body = json!({ "input_tokens": tokens }).to_string();
        self.scope.answered(StatusCode::OK.as_u16(), None);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, names::JSON);
        headers.insert(names::ESTIMATED, HeaderValue::from_static("true"));
        mark(&mut headers, &self.scope, self.worker.config.settings.server.trail_headers);
        let now = self.scope.now();
        self.scope.end_own(now);
        respond(StatusCode::OK, headers, body.boxed())
    }

    /// Answers when there is no further attempt.
    fn conclude(mut self, none: Option<&NoEndpoint>) -> HttpResponse {
        let refusal = match self.plan.take_ending() {
            Ending::PassOn(mut answer) => {
                // If no endpoint will be back soon, a client should not try again after a minute, which is what
                // `passed_on` cuts the answer's own time to.
                let is_exhausted = matches!(none, Some(NoEndpoint::Cooling { limit: Limit::Exhausted, .. }));
                if is_exhausted && answer.status == StatusCode::TOO_MANY_REQUESTS {
                    answer.headers.insert(names::SHOULD_RETRY, HeaderValue::from_static("false"));
                }
                let now = self.scope.now();
                return self.answer_whole(answer, None, now);
            }
            Ending::Overloaded(answer) => {
                let message = ErrorObject::read(&answer.body).map(|error| error.message().to_owned());
                Refusal::Overloaded { message: message.filter(|message| !message.is_empty()) }
            }
            Ending::TimedOut { attempts } => Refusal::EveryAttemptTimedOut { attempts },
            Ending::Failed { attempts } => {
                let needs_operator = matches!(none, Some(NoEndpoint::Isolated { next: None, .. }));
                Refusal::EveryAttemptFailed { attempts, needs_operator }
            }
            Ending::NoAttempt => self.none_usable(none.unwrap_or(&NoEndpoint::TooLate)),
        };
        self.refuse(&refusal)
    }

    fn none_usable(&self, none: &NoEndpoint) -> Refusal {
        match *none {
            NoEndpoint::PathUnserved => Refusal::NoEndpointForPath,
            // A client's profile had endpoints when the request came; nothing says so of a profile that serves requests
            // without a key.
            NoEndpoint::ProfileGone if self.ask.client.is_none() => Refusal::NoEndpointForPath,
            NoEndpoint::ModelUnserved => {
                Refusal::UnknownModel { model: self.task.request.peek.model.as_deref().map(str::to_owned) }
            }
            NoEndpoint::Isolated { isolated, total, next: None } => {
                Refusal::OperatorNeeded { counts: Counts { isolated, total } }
            }
            NoEndpoint::Isolated { isolated, total, next: Some(next_verification) } => {
                Refusal::NoUsableEndpoint { counts: Counts { isolated, total }, next_verification }
            }
            NoEndpoint::Cooling { total, soonest, limit } => match limit {
                Limit::Overload => Refusal::Overloaded { message: None },
                Limit::Exhausted => Refusal::Exhausted { total, soonest },
                Limit::Rate => Refusal::RateLimited { total, soonest },
            },
            NoEndpoint::SwitchedOff { total } => Refusal::SwitchedOff { total },
            NoEndpoint::Full { usable } => Refusal::EveryEndpointFull { usable },
            // After `GivenUp`, which follows an attempt, something else is reported.
            NoEndpoint::GivenUp
            | NoEndpoint::BudgetSpent
            | NoEndpoint::Poisoned
            | NoEndpoint::ProfileGone
            | NoEndpoint::TooLate => Refusal::WaitedTooLong,
            NoEndpoint::Stopping => Refusal::Stopping,
        }
    }

    fn refuse(self, refusal: &Refusal) -> HttpResponse {
        self.worker.refused(refusal, self.errand.shape(), self.scope)
    }

    fn answer_whole(mut self, answer: WholeAnswer, last: Option<AttemptRecord>, now: Moment) -> HttpResponse {
        self.scope.first_piece_at(now);
        self.scope.answered(answer.status.as_u16(), upstream_request_id(&answer.headers));
        let length = announced_length(&answer.headers);
        let mut headers = passed_on(answer.headers, self.task.request.headers, self.worker.shared.clock);
        mark(&mut headers, &self.scope, self.worker.config.settings.server.trail_headers);
        self.scope.end_whole(answer.class, last, now);
        let body = match *self.task.request.method {
            Method::HEAD => HeadOnly(length).boxed(),
            _ => whole_body(answer.body, answer.share),
        };
        respond(answer.status, headers, body)
    }

    /// Sends the head: from here on nothing is retried.
    fn answer_flowing(mut self, flowing: Flowing, attempt: AttemptScope) -> HttpResponse {
        let Flowing { status, headers: upstream_headers, content, passing } = flowing;
        self.scope.tried(passing.judgement(), attempt.elapsed(attempt.now()));
        self.scope.flows();
        self.scope.answered(status.as_u16(), upstream_request_id(&upstream_headers));
        let length = announced_length(&upstream_headers);
        let shared = &self.worker.shared;
        let mut headers = passed_on(upstream_headers, self.task.request.headers, shared.clock);
        mark(&mut headers, &self.scope, self.worker.config.settings.server.trail_headers);
        if passing.is_event_stream() {
            headers.insert(names::ACCEL_BUFFERING, HeaderValue::from_static("no"));
        }
        let head_only = (*self.task.request.method == Method::HEAD).then_some(HeadOnly(length));
        let doubt = Some(Doubt { ask: self.ask, failures: self.plan.failures().to_vec() });
        let recipient = Recipient {
            attempt,
            request: self.scope,
            doubt,
            core: Arc::clone(&shared.core),
            client: self.client,
            help: Arc::from(self.worker.config.settings.server.help.as_str()),
            drain: shared.drain.clone(),
        };
        respond(status, headers, passing.into_body(content, recipient, head_only))
    }
}

/// Why a request got no lease.
enum NotGranted {
    No(NoEndpoint),
    Stopping,
}

impl Serving<'_> {
    /// Refuses a request and ends it.
    pub(super) fn refused(&self, refusal: &Refusal, shape: ErrorShape, mut scope: RequestScope) -> HttpResponse {
        scope.answered(refusal.status(), None);
        let server = &self.config.settings.server;
        let mut response = refuse(refusal, shape, &scope.described.id, &server.help);
        mark_response(&mut response, &scope, server.trail_headers);
        let now = scope.now();
        match refusal {
            // By their status alone these would count as the gateway's.
            Refusal::ClientBusy { .. } | Refusal::Upgrade => scope.end_rejected(now),
            _ => scope.end_own(now),
        }
        response
    }
}

fn mark_response(response: &mut HttpResponse, scope: &RequestScope, with_trail: bool) {
    let mut headers = HeaderMap::new();
    mark(&mut headers, scope, with_trail);
    for (name, value) in headers {
        response.headers_mut().insert(name, value);
    }
}
