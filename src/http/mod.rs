//! The server: every request's way in.

mod access;
mod alarm;
mod attempt;
mod auth;
mod body;
mod connection;
mod content;
mod drain;
mod event_body;
mod gate;
mod identity;
mod intake;
mod journey;
mod names;
mod own;
mod proxy;
mod reload;
mod reply;
mod scope;
mod server;
mod settling;
mod silence;
mod state;
mod times;
mod tracing;
mod waking;

use std::rc::Rc;

use actix_http::{HttpMessage as _, Payload, Request};
use actix_web::HttpResponse;
use actix_web::body::MessageBody;
use actix_web::http::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderValue, UPGRADE};
use actix_web::http::uri::PathAndQuery;
use actix_web::http::{ConnectionType, Method, Version};

pub use drain::{DrainDeadline, time_to_deadline};
pub use reload::{Reload, Reloaded};
pub use server::Server;
pub use state::{Config, ConfigCell, Readiness, Shared, Worker};

use crate::domain::refusal::Refusal;
use crate::domain::route::{Destination, LlmPath, llm_path, route};
use connection::{Answering, BodyEnd, ClientSide};
use intake::announced_length;
use journey::Errand;
use proxy::{proxy, refuse_unserved};
use reply::{closing, for_http_10};
use state::{Door, Serving};

/// Answers any request, in a way that its client's version of HTTP can read.
async fn serve(mut request: Request, worker: Rc<Worker>, door: Door) -> HttpResponse {
    let payload = request.take_payload();
    let client = ClientSide::of(&request);
    let under_way = client.begin(BodyEnd::told_by(request.headers(), !matches!(payload, Payload::None)));
    let serving = worker.serving();
    let response = answer(&request, payload, &serving, door).await;
    // Once not ready, tell the client to come back on another connection, before it finds this one closed.
    let response = if serving.shared.readiness.get() { response } else { closing(response) };
    let response = if request.version() == Version::HTTP_10 { for_http_10(response) } else { response };
    // Only the header tells whether an answer closes the connection: actix reuses response heads and leaves an earlier
    // one's version in them.
    let is_refused = response.headers().contains_key(CONNECTION);
    if is_refused || request.head().connection_type() == ConnectionType::Close {
        client.is_the_last();
    }
    response.map_body(|_, body| Answering::new(body, under_way, request.version()).boxed())
}

/// Whether a request is refused by what its head says, so that its client must not be told to go on with the body (RFC
/// 9110, section 10.1.1).
fn is_refused_by_its_head(request: &Request, worker: &Worker, door: Door) -> bool {
    let Serving { shared, config, .. } = &worker.serving();
    let server = &config.settings.server;
    let target = request.uri().path_and_query().map(PathAndQuery::as_str).unwrap_or_default();
    match route(request.method().as_str(), target, &server.other_paths) {
        // They look after their small bodies themselves.
        Destination::Own { .. } => false,
        Destination::Llm { .. } | Destination::Other { .. } => {
            let is_stranger = || config.clients.identify(request.headers(), shared.clock.since_1970()).is_err();
            door == Door::Admin || announced_length(request.headers()) > Some(server.max_body) || is_stranger()
        }
        Destination::Disguised
        | Destination::Warmup
        | Destination::Root
        | Destination::WrongMethod { .. }
        | Destination::Unknown => true,
    }
}

/// Answers by one of the gateway's own routes, by an endpoint, or with a refusal.
async fn answer(request: &Request, payload: Payload, worker: &Serving<'_>, door: Door) -> HttpResponse {
    let server = &worker.config.settings.server;
    let refused = |refusal: &Refusal, llm| refuse_unserved(worker, request, llm, refusal);
    // The forms of CONNECT and of `OPTIONS *` have no path (RFC 9112, section 3.2).
    let target = request.uri().path_and_query().map(PathAndQuery::as_str);
    if request.method() == Method::CONNECT || request.headers().contains_key(UPGRADE) {
        return refused(&Refusal::Upgrade, target.and_then(llm_path));
    }
    let Some(target) = target.filter(|target| target.starts_with('/')) else {
        return refused(&Refusal::Malformed { what: "target" }, None);
    };
    if !request.headers().get_all(HOST).all(is_host) {
        return refused(&Refusal::Malformed { what: "host" }, None);
    }
    // An upstream that answers TRACE would show the operator's credential to the client (RFC 9110, section 9.3.8).
    if request.method().as_str().eq_ignore_ascii_case("TRACE") {
        let llm = llm_path(target);
        let allowed = if llm.is_some() { "POST" } else { "GET, HEAD, POST" };
        return refused(&Refusal::WrongMethod { allowed }, llm);
    }
    let destination = route(request.method().as_str(), target, &server.other_paths);
    if door == Door::Admin && !matches!(destination, Destination::Own { .. }) {
        return closing(own::not_found(worker, request));
    }
    match destination {
        // Boxed, so that the future of proxied requests is no larger for it.
        Destination::Own { tail } => Box::pin(own::serve(worker, request, payload, tail, door)).await,
        Destination::Disguised => own::not_found(worker, request),
        Destination::Warmup => HttpResponse::Ok().finish(),
        Destination::Root => {
            let own = if worker.config.settings.admin.listen.is_some() { HEALTH_LINE } else { OWN_ROUTES };
            let text = format!("{WHAT_THIS_IS}{own}");
            HttpResponse::Ok().insert_header((CONTENT_TYPE, "text/plain; charset=utf-8")).body(text)
        }
        Destination::WrongMethod { path } => refused(&Refusal::WrongMethod { allowed: "POST" }, Some(path)),
        Destination::Unknown => refused(&Refusal::PathNotServed { meant: LlmPath::meant_by(request.path()) }, None),
        Destination::Llm { path, target } => proxy(worker, request, payload, Errand { llm: Some(path), target }).await,
        Destination::Other { target } => proxy(worker, request, payload, Errand { llm: None, target }).await,
    }
}

/// Whether a value is a host and port as a request may have them (RFC 9110, section 7.2; RFC 3986, section 3.2.2). It
/// need not name this gateway, and may be empty.
fn is_host(value: &HeaderValue) -> bool {
    let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:[]%".contains(byte);
    value.as_bytes().iter().all(is_allowed)
}

/// What somebody sees who opens the gateway's address in a browser.
const WHAT_THIS_IS: &str = concat!(
    "qcc-gateway ",
    env!("CARGO_PKG_VERSION"),
    ": an LLM gateway. It speaks the Anthropic API (/v1/messages) and the OpenAI API (/v1/chat/completions and others).\n",
);
/// The line on the gateway's own routes, if they are at this address.
const OWN_ROUTES: &str = "Dashboard: /__qcc__/, state: /__qcc__/stats, health: /__qcc__/health/ready\n";
/// The line on the gateway's own routes, if all but health are at an address of their own.
const HEALTH_LINE: &str = "Health: /__qcc__/health/ready\n";
