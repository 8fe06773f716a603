//! A client's request on its way through the endpoints: one attempt after another, until one answers.

use actix_http::{HttpMessage as _, Payload, Request};
use std::future::poll_fn;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use actix_web::HttpResponse;
use actix_web::body::MessageBody;
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use actix_web::http::{Method, StatusCode};
use serde_json::json;

use super::access::is_from_a_foreign_page;
use super::attempt::{AttemptEnd, Flowing, Task, WholeAnswer};
use super::body::Recipient;
use super::connection::ClientSide;
use super::identity::{request_id, session, upstream_request_id};
use super::intake::{BodyLimits, Held, NoBody, read_body};
use super::names;
use super::reply::{OnlyLength, closing, mark, passed_on, refuse, respond};
use super::scope::{Asked, AttemptScope, Described, RequestScope};
use super::state::Serving;
use super::times::AttemptTimes;
use super::tracing::RequestTrace;
use crate::actors::lease::Lease;
use crate::actors::messages::{Acquire, Doubt, Judged};
use crate::actors::registry::Registry;
use crate::domain::error_object::ErrorObject;
use crate::domain::estimate::estimate_tokens;
use crate::domain::opinions::Fingerprint;
use crate::domain::outcome_table::{Class, PathKind};
use crate::domain::peek::Peek;
use crate::domain::refusal::{Counts, ErrorShape, Refusal};
use crate::domain::registry::{Ask, NoEndpoint, Reach, Service, Turn};
use crate::domain::retry::{Ending, Plan, RetryPolicy};
use crate::domain::route::LlmPath;
use crate::domain::sessions::{Origin, SessionKey};
use crate::domain::stats::AttemptRecord;
use crate::domain::time::Moment;
use crate::upstream::ClientRequest;

/// What is to be proxied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Errand<'a> {
    /// The model's path; none for a path of `server.other_paths`.
    pub(super) llm: Option<LlmPath>,
    /// What is asked of the endpoint: path and query to the byte.
    pub(super) target: &'a str,
}

impl Errand<'_> {
    fn service(&self) -> Service {
        self.llm.map_or(Service::Other, |path| Service::Llm(path.protocol()))
    }

    fn shape(&self) -> ErrorShape {
        ErrorShape::of(self.llm)
    }
}

/// Proxies a request.
pub(super) async fn proxy(
    worker: &Serving<'_>,
    request: &Request,
    payload: Payload,
    errand: Errand<'_>,
) -> HttpResponse {
    // This future is copied whenever a request comes, so what it holds stays where it is, and is lent.
    let mut begun = begin(worker, request, payload, errand).await;
    let end = match &mut begun {
        Ok(journey) => journey.run().await,
        Err(_) => JourneyEnd::Spent(None),
    };
    match begun {
        Ok(journey) => journey.answer(end),
        Err(response) => response,
    }
}

/// Takes a request in; otherwise its answer.
async fn begin<'a>(
    worker: &'a Serving<'a>,
    request: &'a Request,
    mut payload: Payload,
    errand: Errand<'a>,
) -> Result<Journey<'a>, HttpResponse> {
    let Serving { shared, config, .. } = worker;
    let described = Described {
        id: request_id(request.headers()),
        client: None,
        profile: None,
        session: session(request.headers()),
        method: request.method().clone(),
        path: request.path().to_owned(),
        model: None,
    };
    let trace = shared.tracer.as_ref().and_then(|tracer| RequestTrace::begin(tracer, request.headers(), errand.llm));
    let mut scope = RequestScope::begin(Arc::clone(&shared.core), shared.clock, described, trace);
    let caller = match config.clients.identify(request.headers(), shared.clock.since_1970_at(scope.began())) {
        Ok(caller) => caller,
        Err(refusal) => return Err(closing(worker.refused(&refusal, errand.shape(), scope))),
    };
    if caller.client.is_none() && is_from_a_foreign_page(request.headers(), &config.settings) {
        return Err(closing(worker.refused(&Refusal::ForeignPage, errand.shape(), scope)));
    }
    scope.described.client.clone_from(&caller.client);
    scope.described.profile = Some(caller.profile.clone());
    match config.clients.admit(&caller) {
        Ok(place) => scope.occupy(place),
        Err(refusal) => return Err(closing(worker.refused(&refusal, errand.shape(), scope))),
    }
    let limits = BodyLimits::of(&config.settings.server);
    let client = ClientSide::of(request);
    let read = read_body(&mut payload, request.headers(), limits, &shared.buffered, client.alarm()).await;
    let (body, held) = match read {
        Ok(read) => read,
        Err(NoBody::Refused(refusal)) => return Err(closing(worker.refused(&refusal, errand.shape(), scope))),
        // Nobody is left to answer; the scope's drop counts the request as cancelled.
        Err(NoBody::ClientGone) => return Err(closing(HttpResponse::BadRequest().finish())),
    };
    client.body_has_come();
    let peek = if errand.llm.is_some() { Peek::into_body(&body) } else { Peek::default() };
    if peek.has_too_many_models() {
        return Err(worker.refused(&Refusal::Malformed { what: "body" }, errand.shape(), scope));
    }
    scope.described.model.clone_from(&peek.model);
    let now = shared.clock.now();
    let model = peek.model_name().cloned();
    let task = Task {
        llm: errand.llm,
        on_break: config.settings.stream.on_break,
        times: AttemptTimes::of(
            &config.settings.timeouts,
            request.headers(),
            shared.clock.instant(scope.began()).into(),
        ),
        words: config.settings.log.words(),
        rules: &config.settings.rules,
        alarm: client.alarm().clone(),
        request: ClientRequest {
            method: request.method(),
            target: errand.target,
            headers: request.headers(),
            body,
            peek,
            look_into_answer: errand.llm.is_some(),
            has_gateway_key: caller.client.is_some(),
            resend_stale: errand.llm.is_some(),
        },
    };
    let retry = &config.settings.retry;
    // Nobody waits for a count that the gateway can guess.
    let (max_per_endpoint, park) = match task.path() {
        PathKind::CountTokens => (1, Duration::ZERO),
        PathKind::Llm | PathKind::Other => (retry.max_per_endpoint, retry.park),
    };
    let plan = Plan::new(RetryPolicy {
        max_attempts: retry.max_attempts,
        max_per_endpoint,
        // The request has come when its body has.
        deadline: now + retry.deadline,
        backoff: retry.backoff,
        backoff_max: retry.backoff_max,
        park,
    });
    // A count has no prompt cache to come back to, and where it is answered says nothing of the conversation.
    let session = errand.llm.filter(|path| path.kind() != PathKind::CountTokens).and_then(|path| {
        let name = scope.described.session.as_deref().or(task.request.peek.session.as_deref())?;
        Some(SessionKey::new(caller.client.as_ref(), path.protocol(), name))
    });
    let ask = Ask {
        profile: caller.profile,
        service: errand.service(),
        model,
        client: caller.client,
        origin: session.map_or_else(|| Origin::Request(fastrand::u64(..)), Origin::Session),
        fingerprint: None,
        tried: Vec::new(),
        turn: plan.turn(),
        reach: plan.reach(now),
        is_last: plan.is_last(),
        deadline: now + retry.deadline,
    };
    Ok(Journey { worker, errand, task, scope, client, ask, plan, began: now, _held: held })
}

/// One request's way through the endpoints.
struct Journey<'a> {
    worker: &'a Serving<'a>,
    errand: Errand<'a>,
    task: Task<'a>,
    scope: RequestScope,
    client: ClientSide,
    ask: Ask,
    plan: Plan<WholeAnswer>,
    /// When the request had come whole.
    began: Moment,
    /// The request's share of what may be buffered; held while it may be sent again.
    _held: Held,
}

/// How a journey has ended.
enum JourneyEnd {
    /// With an answer that has come whole at this moment, and the attempt that brought it.
    Whole(WholeAnswer, Option<AttemptRecord>, Moment),
    /// With an answer that is to be passed on as it comes.
    Flowing(Box<Flowing>, AttemptScope),
    /// There is no further attempt; for want of an endpoint, where one is named as missing.
    Spent(Option<NoEndpoint>),
    /// With a refusal, whatever has come of its attempts.
    Refused(Refusal),
}

impl Journey<'_> {
    async fn run(&mut self) -> JourneyEnd {
        let mut now = self.began;
        let shared = &self.worker.shared;
        // Only a model that is silent calls for a second opinion, which asks a model.
        let suspect = match self.task.path() {
            PathKind::Llm => self.worker.config.settings.timeouts.suspect,
            PathKind::CountTokens | PathKind::Other => Duration::MAX,
        };
        let mut doubts = Doubts { registry: &shared.core.registry, held: None };
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
            let attempt = AttemptScope::begin(&self.scope, lease, suspect, asked, granted_at);
            let attempt = attempt.traced(trace);
            let end = tokio::select! {
                end = self.task.attempt(self.worker.client, &attempt) => end,
                () = poll_fn(|cx| self.client.poll_drained(&shared.drain, cx)) => {
                    // Settled as cancelled by its drop: it was not the endpoint that ran out of time.
                    drop(attempt);
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
                    let last = attempt.settled(&judgement, self.task.path(), now);
                    return JourneyEnd::Whole(answer, last, now);
                }
                AttemptEnd::Flowing(flowing) => {
                    // From here on they are the body's, which tells of them should it break.
                    doubts.held = None;
                    return JourneyEnd::Flowing(flowing, attempt);
                }
                AttemptEnd::Failed(judgement, answer) => {
                    self.scope.tried(&judgement, attempt.elapsed(now));
                    let Some(ticket) = attempt.lease().map(|lease| lease.ticket().clone()) else { continue };
                    let was_written = attempt.lease().is_some_and(Lease::was_written);
                    self.plan.failed(&ticket, &judgement, self.task.path(), answer, now);
                    attempt.end(&judgement, self.task.path(), now);
                    // The isolation that this failure may cause takes effect before the request goes on or is answered.
                    let _ = shared.core.registry.send(Judged(ticket.serial)).await;
                    doubts.held = self.doubt();
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

    fn answer(self, end: JourneyEnd) -> HttpResponse {
        match end {
            JourneyEnd::Whole(answer, last, now) => self.answer_whole(answer, last, now),
            JourneyEnd::Flowing(flowing, attempt) => self.answer_flowing(*flowing, attempt),
            JourneyEnd::Spent(none) => self.conclude(none.as_ref()),
            JourneyEnd::Refused(refusal) => self.refuse(&refusal),
        }
    }

    /// An endpoint that the request was not sent to, or one that may serve it again, or after a pause one that has failed.
    /// And when it was granted.
    async fn acquire(&mut self, asked_at: Moment) -> Result<(Lease, Moment), NotGranted> {
        let clock = self.worker.shared.clock;
        let answer = self.ask(self.plan.reach(asked_at)).await;
        let answered_at = clock.now();
        self.plan.waited(answered_at.since(asked_at));
        let pause = match answer {
            Err(NotGranted::No(NoEndpoint::GivenUp)) => self.plan.pause_before_repeat(fastrand::f64()),
            answer => return Ok((answer?, answered_at)),
        };
        let Some(pause) = pause else { return Err(NotGranted::No(NoEndpoint::GivenUp)) };
        tokio::time::sleep(pause).await;
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
        let (acquire, answer) = Acquire::new(self.ask.clone());
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
            let content = (&self.ask.client, &self.ask.profile, request.target, &request.body);
            self.ask.fingerprint = Some(Fingerprint(self.worker.shared.fingerprints.hash_one(content)));
        }
    }

    /// What the registry is told should no endpoint do better: some of the failures may be the request's own.
    fn doubt(&mut self) -> Option<Doubt> {
        if self.plan.failures().is_empty() || self.errand.llm.is_none() {
            return None;
        }
        self.fingerprint();
        Some(Doubt { ask: self.ask.clone(), failures: self.plan.failures().to_vec() })
    }

    /// On other paths a POST or PATCH that may have arrived is not repeated: it could have done its work.
    fn may_be_sent_again(&self) -> bool {
        let method = self.task.request.method;
        self.errand.llm.is_some() || (method != Method::POST && method != Method::PATCH)
    }

    /// Whether a count of tokens is asked for of which the gateway itself can tell an estimate. A model or path that no
    /// endpoint serves is a mistake that the client had better hear of.
    fn is_to_be_estimated(&self, none: Option<&NoEndpoint>) -> bool {
        let is_mistaken = matches!(none, Some(NoEndpoint::PathUnserved | NoEndpoint::ModelUnserved));
        self.task.path() == PathKind::CountTokens && !is_mistaken
    }

    /// No client fails for want of a count.
    fn answer_estimated(mut self) -> HttpResponse {
        let body = json!({ "input_tokens": estimate_tokens(&self.task.request.body) }).to_string();
        self.scope.answered(StatusCode::OK.as_u16(), None);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(names::ESTIMATED, HeaderValue::from_static("true"));
        mark(&mut headers, &self.scope, self.worker.config.settings.server.trail_headers);
        let now = self.scope.now();
        self.scope.end_whole(None, now);
        respond(StatusCode::OK, headers, body.boxed())
    }

    /// Answers when there is no further attempt.
    fn conclude(mut self, none: Option<&NoEndpoint>) -> HttpResponse {
        if self.is_to_be_estimated(none) {
            return self.answer_estimated();
        }
        let refusal = match self.plan.take_ending() {
            Ending::PassOn(answer) => {
                let now = self.scope.now();
                return self.answer_whole(answer, None, now);
            }
            Ending::Overloaded(answer) => {
                let message = ErrorObject::read(&answer.body).map(|error| error.message().to_owned());
                Refusal::Overloaded { message: message.filter(|message| !message.is_empty()) }
            }
            Ending::TimedOut { attempts } => Refusal::EveryAttemptTimedOut { attempts },
            Ending::Failed { attempts } => Refusal::EveryAttemptFailed { attempts },
            Ending::NoAttempt => self.none_usable(none.unwrap_or(&NoEndpoint::TooLate)),
        };
        self.refuse(&refusal)
    }

    fn none_usable(&self, none: &NoEndpoint) -> Refusal {
        match *none {
            NoEndpoint::PathUnserved => Refusal::NoEndpointForPath,
            NoEndpoint::ModelUnserved => {
                Refusal::UnknownModel { model: self.task.request.peek.model.as_deref().map(str::to_owned) }
            }
            NoEndpoint::Isolated { isolated, total, needs_operator: true, .. } => {
                Refusal::OperatorNeeded { counts: Counts { isolated, total } }
            }
            NoEndpoint::Isolated { isolated, total, needs_operator: false, next } => {
                Refusal::NoUsableEndpoint { counts: Counts { isolated, total }, next_verification: next }
            }
            NoEndpoint::Cooling { overloaded: true, .. } => Refusal::Overloaded { message: None },
            NoEndpoint::Cooling { total, soonest, exhausted: true, .. } => Refusal::Exhausted { total, soonest },
            NoEndpoint::Cooling { total, soonest, exhausted: false, .. } => Refusal::RateLimited { total, soonest },
            NoEndpoint::SwitchedOff { total } => Refusal::SwitchedOff { total },
            NoEndpoint::Full { usable } => Refusal::EveryEndpointFull { usable },
            // A request that has given up on an endpoint has made an attempt, and has something else to tell.
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
        let length = length_of_head(&answer.headers);
        let mut headers = passed_on(answer.headers, self.task.request.headers, self.worker.shared.clock);
        mark(&mut headers, &self.scope, self.worker.config.settings.server.trail_headers);
        self.scope.end_whole(last, now);
        let body = match *self.task.request.method {
            Method::HEAD => OnlyLength(length.unwrap_or_default()).boxed(),
            _ => answer.body.boxed(),
        };
        respond(answer.status, headers, body)
    }

    /// From here on nothing is retried: the head goes out.
    fn answer_flowing(mut self, flowing: Flowing, attempt: AttemptScope) -> HttpResponse {
        let Flowing { status, headers: upstream_headers, content, passing } = flowing;
        self.scope.tried(passing.judgement(), attempt.elapsed(attempt.now()));
        self.scope.flows();
        self.scope.answered(status.as_u16(), upstream_request_id(&upstream_headers));
        let length = length_of_head(&upstream_headers);
        let shared = &self.worker.shared;
        let mut headers = passed_on(upstream_headers, self.task.request.headers, shared.clock);
        mark(&mut headers, &self.scope, self.worker.config.settings.server.trail_headers);
        if passing.is_event_stream() {
            headers.insert(names::ACCEL_BUFFERING, HeaderValue::from_static("no"));
        }
        let only_length = match *self.task.request.method {
            Method::HEAD => length,
            _ => None,
        };
        let doubt = self.errand.llm.map(|_| Doubt { ask: self.ask, failures: self.plan.failures().to_vec() });
        let recipient = Recipient {
            attempt,
            request: self.scope,
            doubt,
            path: self.task.path(),
            core: Arc::clone(&shared.core),
            client: self.client,
            help: Arc::from(self.worker.config.settings.server.help.as_str()),
            drain: shared.drain.clone(),
        };
        respond(status, headers, passing.into_body(content, recipient, only_length))
    }
}

/// The doubt about a request's failures so far. It is told when the request is over without a success, before its answer,
/// whatever that is, or when its client leaves.
struct Doubts<'a> {
    registry: &'a Addr<Registry>,
    held: Option<Doubt>,
}

impl Drop for Doubts<'_> {
    fn drop(&mut self) {
        if let Some(doubt) = self.held.take() {
            self.registry.do_send(doubt);
        }
    }
}

/// Why a request got no lease.
enum NotGranted {
    No(NoEndpoint),
    Stopping,
}

fn length_of_head(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

impl Serving<'_> {
    /// Refuses a request and ends it.
    fn refused(&self, refusal: &Refusal, shape: ErrorShape, mut scope: RequestScope) -> HttpResponse {
        scope.answered(refusal.status(), None);
        let server = &self.config.settings.server;
        let mut response = refuse(refusal, shape, &scope.described.id, &server.help);
        mark_response(&mut response, &scope, server.trail_headers);
        let now = scope.now();
        scope.end_whole(None, now);
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
