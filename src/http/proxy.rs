//! Takes a client's request in: whose it is, whether it is allowed, its body, and what it asks for.

use std::sync::Arc;
use std::time::Duration;

use actix_http::{HttpMessage as _, Payload, Request};
use actix_web::HttpResponse;

use super::access::is_from_a_foreign_page;
use super::attempt::Task;
use super::auth::Caller;
use super::connection::ClientSide;
use super::content::{coding_of, plain_request, read_off_thread};
use super::identity::{request_id, session, session_of_last_resort};
use super::intake::{BodyLimits, NoBody, read_body};
use super::journey::{Errand, Journey, JourneyEnd};
use super::reply::closing;
use super::scope::{Described, RequestScope};
use super::state::Serving;
use super::times::{AttemptTimes, time_told};
use super::tracing::RequestTrace;
use crate::domain::ids::ClientId;
use crate::domain::outcome_table::PathKind;
use crate::domain::peek::{Peek, Wanted};
use crate::domain::refusal::{ErrorShape, Refusal};
use crate::domain::registry::Ask;
use crate::domain::retry::{Plan, RetryPolicy};
use crate::domain::route::LlmPath;
use crate::domain::sessions::{Origin, SessionKey};
use crate::domain::time::Moment;
use crate::settings::Retry;
use crate::upstream::ClientRequest;

/// A body up to this size, in bytes, is parsed at once. The slowest ones, of nothing but small members, may have come as
/// a few compressed kilobytes.
const LONGEST_READ_AT_ONCE: usize = 1 << 20;

/// Proxies a request.
pub(super) async fn proxy(
    worker: &Serving<'_>,
    request: &Request,
    payload: Payload,
    errand: Errand<'_>,
) -> HttpResponse {
    // This future is copied for every request, so what it holds stays in place and is borrowed.
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

/// Refuses a request that goes to no endpoint. It is counted and logged like others, and its connection ends.
pub(super) fn refuse_unserved(
    worker: &Serving<'_>,
    request: &Request,
    llm: Option<LlmPath>,
    refusal: &Refusal,
) -> HttpResponse {
    closing(worker.refused(refusal, ErrorShape::of(llm), scope_of(worker, request, llm)))
}

fn scope_of(worker: &Serving<'_>, request: &Request, llm: Option<LlmPath>) -> RequestScope {
    let shared = &worker.shared;
    let described = Described {
        id: request_id(request.headers()),
        client: None,
        profile: None,
        session: session(request.headers()),
        method: request.method().clone(),
        path: request.path().to_owned(),
        model: None,
        peer: request.peer_addr().map(|peer| peer.ip().to_canonical()),
    };
    let trace = shared.tracer.as_ref().and_then(|tracer| RequestTrace::begin(tracer, request.headers(), llm));
    RequestScope::begin(Arc::clone(&shared.core), shared.clock, described, trace)
}

/// Takes a request in; the error is its answer.
async fn begin<'a>(
    worker: &'a Serving<'a>,
    request: &'a Request,
    mut payload: Payload,
    errand: Errand<'a>,
) -> Result<Journey<'a>, HttpResponse> {
    let Serving { shared, config, .. } = worker;
    let mut scope = scope_of(worker, request, errand.llm);
    let caller = match admit(worker, request, &mut scope) {
        Ok(caller) => caller,
        Err(refusal) => return Err(closing(worker.refused(&refusal, errand.shape(), scope))),
    };
    let limits = BodyLimits::of(&config.settings.server);
    let client = ClientSide::of(request);
    let read = read_body(&mut payload, request.headers(), limits, &shared.buffered, &client, &shared.drain).await;
    let (body, mut held) = match read {
        Ok(read) => read,
        Err(NoBody::Refused(refusal)) => return Err(closing(worker.refused(&refusal, errand.shape(), scope))),
        // Nobody is left to answer; the scope's drop counts the request as cancelled.
        Err(NoBody::ClientGone) => return Err(closing(HttpResponse::BadRequest().finish())),
    };
    // Boxed, because few bodies are compressed.
    let readable = match errand.llm.and_then(|_| coding_of(request.headers())) {
        Some(coding) => match Box::pin(plain_request(coding, body.clone(), limits.size, &mut held)).await {
            Ok(plain) => plain,
            Err(refusal) => return Err(worker.refused(&refusal, errand.shape(), scope)),
        },
        None => None,
    };
    let peek = match errand.llm {
        Some(_) => read_off_thread(readable.as_ref().unwrap_or(&body), LONGEST_READ_AT_ONCE, Peek::into_body).await,
        None => Peek::default(),
    };
    if peek.has_no_one_model() {
        return Err(worker.refused(&Refusal::Malformed { what: "body" }, errand.shape(), scope));
    }
    scope.described.model.clone_from(&peek.model);
    if scope.described.session.is_none() && peek.session.is_none() {
        scope.described.session = session_of_last_resort(request.headers());
    }
    let now = shared.clock.now();
    let model = peek.model_name().cloned();
    let told = time_told(request.headers());
    let deadline =
        deadline_of(peek.wanted, now + config.settings.retry.deadline, told.map(|time| scope.began() + time), now);
    let task = Task {
        llm: errand.llm,
        on_break: config.settings.stream.on_break,
        times: AttemptTimes::of(&config.settings.timeouts, told, shared.clock.instant(scope.began()).into()),
        words: config.settings.log.words(),
        rules: &config.settings.rules,
        alarm: client.alarm().clone(),
        buffered: &shared.buffered,
        together: limits.together,
        request: ClientRequest {
            method: request.method(),
            target: errand.target,
            headers: request.headers(),
            body,
            plain: readable,
            peek,
            look_into_answer: errand.llm.is_some(),
            has_gateway_key: caller.client.is_some(),
            resend_stale: errand.llm.is_some(),
        },
    };
    let plan = plan_of(task.path(), &config.settings.retry, deadline);
    let session = session_key(worker, errand.llm, caller.client.as_ref(), || {
        scope.described.session.as_deref().or(task.request.peek.session.as_deref())
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
        deadline,
    };
    Ok(Journey { worker, errand, task, scope, client, ask, plan, began: now, _held: held })
}

/// Admits a request, and tells whose it is. What is known of the caller is noted in the request's scope, also if it is
/// refused.
fn admit(worker: &Serving<'_>, request: &Request, scope: &mut RequestScope) -> Result<Caller, Refusal> {
    let Serving { shared, config, .. } = worker;
    let caller = config.clients.identify(request.headers(), shared.clock.since_1970()).map_err(|stranger| {
        let refusal = stranger.refusal();
        scope.described.client = stranger.client();
        refusal
    })?;
    if caller.client.is_none() && is_from_a_foreign_page(request.headers(), &config.settings) {
        return Err(Refusal::ForeignPage);
    }
    scope.described.client.clone_from(&caller.client);
    scope.described.profile = Some(caller.profile.clone());
    scope.occupy(config.clients.admit(&caller)?);
    Ok(caller)
}

/// Until when attempts may begin. `latest` is the operator's bound; `leaves` is when the client gives up an unstreamed
/// request.
fn deadline_of(wanted: Wanted, latest: Moment, leaves: Option<Moment>, now: Moment) -> Moment {
    match wanted {
        Wanted::Stream => latest,
        // After the client's deadline nobody waits for another attempt. If it has passed already, the first attempt finds
        // out.
        Wanted::Whole | Wanted::Unknown => {
            leaves.filter(|leaves| *leaves > now).map_or(latest, |leaves| latest.min(leaves))
        }
    }
}

/// The key of the session that a request belongs to. A token count belongs to none: it has no prompt cache to return
/// to, and its answer says nothing about the conversation.
fn session_key<'n>(
    worker: &Serving<'_>,
    llm: Option<LlmPath>,
    client: Option<&ClientId>,
    name: impl FnOnce() -> Option<&'n str>,
) -> Option<SessionKey> {
    let path = llm.filter(|path| path.kind() != PathKind::CountTokens)?;
    Some(SessionKey::new(&worker.shared.sessions, client, path.protocol(), name()?))
}

/// How often a request is tried, and until when.
fn plan_of<A>(path: PathKind, retry: &Retry, deadline: Moment) -> Plan<A> {
    // Nobody should wait for a count that the gateway can estimate.
    let (max_per_endpoint, park) = match path {
        PathKind::CountTokens => (1, Duration::ZERO),
        PathKind::Llm | PathKind::Other => (retry.max_per_endpoint, retry.park),
    };
    Plan::new(RetryPolicy {
        max_attempts: retry.max_attempts,
        max_per_endpoint,
        deadline,
        backoff: retry.backoff,
        backoff_max: retry.backoff_max,
        park,
    })
}
