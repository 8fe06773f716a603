//! A client's request on its way through the endpoints: one attempt after another, until one answers.

use std::sync::Arc;
use std::time::Duration;

use actix_web::body::{BodyStream, BoxBody, MessageBody, SizedStream};
use actix_web::http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse};

use super::attempt::{AttemptEnd, Task, WholeAnswer};
use super::body::{BodyKind, LeasedBody, Passing};
use super::connection::ClientSide;
use super::identity::{request_id, session, upstream_request_id};
use super::intake::{BodyLimits, Held, NoBody, read_body};
use super::reply::{OnlyLength, closing, mark, passed_on, refuse, respond};
use super::scope::{AttemptScope, Described, RequestScope};
use super::state::Worker;
use super::times::AttemptTimes;
use crate::actors::lease::Lease;
use crate::actors::messages::{Acquire, Judged, ViewVerifier};
use crate::domain::error_object::ErrorObject;
use crate::domain::ids::EndpointId;
use crate::domain::outcome::Outcome;
use crate::domain::outcome_table::PathKind;
use crate::domain::peek::Peek;
use crate::domain::refusal::{Counts, ErrorShape, Refusal};
use crate::domain::registry::{Ask, NoEndpoint, Service};
use crate::domain::retry::{Ending, Plan, RetryPolicy};
use crate::domain::route::LlmPath;
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
    fn kind(&self) -> PathKind {
        self.llm.map_or(PathKind::Other, LlmPath::kind)
    }

    fn service(&self) -> Service {
        self.llm.map_or(Service::Other, |path| Service::Llm(path.protocol()))
    }

    fn shape(&self) -> ErrorShape {
        ErrorShape::of(self.llm)
    }
}

/// Proxies a request.
pub(super) async fn proxy(
    worker: &Worker,
    request: &HttpRequest,
    mut payload: Payload,
    errand: Errand<'_>,
) -> HttpResponse {
    let shared = &worker.shared;
    let described = Described {
        id: request_id(request.headers()),
        client: None,
        session: session(request.headers()),
        method: request.method().to_string(),
        path: request.path().to_owned(),
        model: None,
    };
    let mut scope = RequestScope::begin(shared.core.stats.clone(), shared.clock, described);
    let caller = match shared.clients.identify(request.headers()) {
        Ok(caller) => caller,
        Err(refusal) => return closing(worker.refused(&refusal, errand.shape(), scope)),
    };
    scope.described.client.clone_from(&caller.client);
    let limits = BodyLimits { size: shared.settings.server.max_body, pause: shared.settings.server.body_timeout };
    let (body, held) = match read_body(&mut payload, request.headers(), limits, &shared.buffered).await {
        Ok(read) => read,
        Err(NoBody::Refused(refusal)) => return closing(worker.refused(&refusal, errand.shape(), scope)),
        // Nobody is left to answer; the scope's drop counts the request as cancelled.
        Err(NoBody::ClientGone) => return closing(HttpResponse::BadRequest().finish()),
    };
    let client = ClientSide::of(request);
    client.body_has_come();
    let peek = if errand.llm.is_some() { Peek::into_body(&body) } else { Peek::default() };
    scope.described.model.clone_from(&peek.model);
    let model: Option<Arc<str>> = peek.model_name().map(Arc::from);
    let task = Task {
        path: errand.kind(),
        times: AttemptTimes::of(&shared.settings.timeouts, request.headers(), scope.waited()),
        words: shared.settings.log.words(),
        request: ClientRequest {
            method: request.method(),
            target: errand.target,
            headers: request.headers(),
            body,
            peek,
            look_into_answer: errand.llm.is_some(),
            resend_stale: errand.llm.is_some(),
        },
    };
    let ask = Ask {
        profile: caller.profile,
        service: errand.service(),
        model,
        given_up: Vec::new(),
        // The request has come when its body has.
        deadline: shared.clock.now() + shared.settings.retry.deadline,
    };
    Journey { worker, errand, task, scope, client, _held: held }.run(ask).await
}

/// One request's way through the endpoints.
struct Journey<'a> {
    worker: &'a Worker,
    errand: Errand<'a>,
    task: Task<'a>,
    scope: RequestScope,
    client: ClientSide,
    /// The request's share of what may be buffered; held while it may be sent again.
    _held: Held,
}

impl Journey<'_> {
    async fn run(mut self, mut ask: Ask) -> HttpResponse {
        let shared = &self.worker.shared;
        let policy = RetryPolicy { max_attempts: shared.settings.retry.max_attempts, deadline: ask.deadline };
        let mut plan: Plan<WholeAnswer> = Plan::new(policy);
        while plan.may_try(shared.clock.now()) {
            ask.given_up = plan.given_up().to_vec();
            let (acquire, answer) = Acquire::new(ask.clone());
            shared.core.registry.do_send(acquire);
            let lease = match answer.await {
                Ok(Ok(lease)) => lease,
                Ok(Err(none)) => return self.conclude(plan, Some(none)).await,
                Err(_) => return self.refuse(&Refusal::Stopping),
            };
            plan.begin();
            self.scope.try_endpoint(lease.endpoint().id.clone());
            let attempt = AttemptScope::begin(shared.core.stats.clone(), shared.clock, lease);
            match self.task.attempt(&self.worker.client, &attempt).await {
                AttemptEnd::Whole(answer, judgement) => {
                    self.scope.tried(&judgement, attempt.elapsed());
                    attempt.end(&judgement, self.task.path);
                    return self.answer_whole(answer);
                }
                AttemptEnd::Flowing { status, headers, passing } => {
                    return self.answer_flowing(status, &headers, passing, attempt);
                }
                AttemptEnd::Failed(judgement, answer) => {
                    let endpoint = attempt.endpoint().id.clone();
                    self.scope.tried(&judgement, attempt.elapsed());
                    let was_written = attempt.lease().is_some_and(Lease::was_written);
                    plan.failed(endpoint, judgement.class, answer);
                    let serial = attempt.lease().map(Lease::serial);
                    attempt.end(&judgement, self.task.path);
                    // The isolation that this failure may cause takes effect before the request goes on or is answered.
                    if let (Outcome::Failure(_) | Outcome::Fatal(_), Some(serial)) =
                        (judgement.rule(self.task.path).outcome, serial)
                    {
                        let _ = shared.core.registry.send(Judged(serial)).await;
                    }
                    if was_written && !self.may_be_sent_again() {
                        return self.conclude(plan, None).await;
                    }
                }
                AttemptEnd::Withdrawn => {
                    attempt.withdraw();
                    plan.withdraw();
                    self.scope.withdraw();
                }
                AttemptEnd::ClientOutOfTime => {
                    let attempts = self.scope.attempts();
                    // Settled as cancelled by its drop: the client would be gone before more could come.
                    drop(attempt);
                    return self.refuse(&Refusal::EveryAttemptTimedOut { attempts });
                }
                AttemptEnd::Unsendable => {
                    attempt.withdraw();
                    self.scope.withdraw();
                    return self.refuse(&Refusal::Malformed { what: "target" });
                }
            }
        }
        self.conclude(plan, None).await
    }

    /// On other paths a POST or PATCH that may have arrived is not repeated: it could have done its work.
    fn may_be_sent_again(&self) -> bool {
        let method = self.task.request.method;
        self.errand.llm.is_some() || (method != Method::POST && method != Method::PATCH)
    }

    /// Answers when there is no further attempt.
    async fn conclude(self, plan: Plan<WholeAnswer>, none: Option<NoEndpoint>) -> HttpResponse {
        let refusal = match plan.ending() {
            Ending::PassOn(answer) => return self.answer_whole(answer),
            Ending::Overloaded(answer) => {
                let message = ErrorObject::read(&answer.body).map(|error| error.message().to_owned());
                Refusal::Overloaded { message: message.filter(|message| !message.is_empty()) }
            }
            Ending::TimedOut { attempts } => Refusal::EveryAttemptTimedOut { attempts },
            Ending::Failed { attempts } => Refusal::EveryAttemptFailed { attempts },
            Ending::NoAttempt => self.none_usable(none.unwrap_or(NoEndpoint::TooLate)).await,
        };
        self.refuse(&refusal)
    }

    async fn none_usable(&self, none: NoEndpoint) -> Refusal {
        match none {
            NoEndpoint::PathUnserved => Refusal::NoEndpointForPath,
            NoEndpoint::ModelUnserved => Refusal::UnknownModel { model: self.task.request.peek.model.clone() },
            NoEndpoint::Isolated { isolated, total, needs_operator: true } => {
                Refusal::OperatorNeeded { counts: Counts { isolated: isolated.len(), total } }
            }
            NoEndpoint::Isolated { isolated, total, needs_operator: false } => Refusal::NoUsableEndpoint {
                counts: Counts { isolated: isolated.len(), total },
                next_verification: self.next_verification(&isolated).await,
            },
            NoEndpoint::SwitchedOff { total } => Refusal::SwitchedOff { total },
            NoEndpoint::Full { usable } => Refusal::EveryEndpointFull { usable },
            // A request that has given up on an endpoint has made an attempt, and has something else to tell.
            NoEndpoint::GivenUp | NoEndpoint::TooLate => Refusal::WaitedTooLong,
        }
    }

    /// How long it is to the next verification of one of these.
    async fn next_verification(&self, isolated: &[EndpointId]) -> Duration {
        let shared = &self.worker.shared;
        let Ok(view) = shared.core.verifier.send(ViewVerifier).await else { return Duration::ZERO };
        let now = shared.clock.now();
        let due = isolated.iter().filter_map(|id| view.progress.get(id)).map(|progress| progress.next.unwrap_or(now));
        due.min().map_or(Duration::ZERO, |due| due.since(now))
    }

    fn refuse(self, refusal: &Refusal) -> HttpResponse {
        self.worker.refused(refusal, self.errand.shape(), self.scope)
    }

    fn answer_whole(mut self, answer: WholeAnswer) -> HttpResponse {
        self.scope.piece();
        self.scope.answered(answer.status.as_u16(), upstream_request_id(&answer.headers));
        let mut headers = passed_on(&answer.headers);
        mark(&mut headers, &self.scope, self.worker.shared.settings.server.trail_headers);
        self.scope.end_whole();
        let body = match *self.task.request.method {
            Method::HEAD => OnlyLength(length_of_head(&answer.headers).unwrap_or_default()).boxed(),
            _ => answer.body.boxed(),
        };
        respond(answer.status, headers, body)
    }

    /// From here on nothing is retried: the head goes out.
    fn answer_flowing(
        mut self,
        status: StatusCode,
        upstream_headers: &HeaderMap,
        passing: Passing,
        attempt: AttemptScope,
    ) -> HttpResponse {
        self.scope.tried(&passing.judgement, attempt.elapsed());
        self.scope.flows();
        self.scope.answered(status.as_u16(), upstream_request_id(upstream_headers));
        let mut headers = passed_on(upstream_headers);
        mark(&mut headers, &self.scope, self.worker.shared.settings.server.trail_headers);
        if matches!(passing.kind, BodyKind::EventStream { .. }) {
            headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
        }
        let length = match *self.task.request.method {
            Method::HEAD => length_of_head(upstream_headers),
            _ => passing.body.remaining_length().map(|rest| {
                let held: usize = passing.held.iter().map(bytes::Bytes::len).sum();
                rest.saturating_add(u64::try_from(held).unwrap_or(u64::MAX))
            }),
        };
        let is_head = *self.task.request.method == Method::HEAD;
        let body = LeasedBody::new(passing, attempt, self.scope, self.worker.shared.core.registry.clone(), self.client);
        let body: BoxBody = match length {
            Some(length) if is_head => OnlyLength(length).boxed(),
            Some(length) => SizedStream::new(length, body).boxed(),
            None => BodyStream::new(body).boxed(),
        };
        respond(status, headers, body)
    }
}

fn length_of_head(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

impl Worker {
    /// Refuses a request and ends it.
    fn refused(&self, refusal: &Refusal, shape: ErrorShape, mut scope: RequestScope) -> HttpResponse {
        scope.answered(refusal.status(), None);
        let server = &self.shared.settings.server;
        let mut response = refuse(refusal, shape, &scope.described.id, &server.help);
        mark_response(&mut response, &scope, server.trail_headers);
        scope.end_whole();
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
