//! The server: every request's way in.

mod access;
mod attempt;
mod auth;
mod body;
mod intake;
mod own;
mod proxy;
mod reply;
mod scope;
mod state;

use actix_web::http::Method;
use actix_web::http::header::{CONTENT_TYPE, UPGRADE};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};

pub use state::{Readiness, Shared, Worker};

use crate::domain::refusal::{ErrorShape, Refusal};
use crate::domain::route::{Destination, route};
use proxy::{Errand, proxy, request_id};
use reply::{closing, refuse};

/// Answers any request: by one of the gateway's own routes, by an endpoint, or with a refusal.
pub async fn serve(request: HttpRequest, payload: Payload, worker: Data<Worker>) -> HttpResponse {
    let server = &worker.shared.settings.server;
    let target = request.uri().path_and_query().map_or_else(|| request.uri().path(), |target| target.as_str());
    let refused =
        |refusal: &Refusal, shape| closing(refuse(refusal, shape, &request_id(request.headers()), &server.help));
    if request.method() == Method::CONNECT || request.headers().contains_key(UPGRADE) {
        return refused(&Refusal::Upgrade, ErrorShape::Anthropic);
    }
    match route(request.method().as_str(), target, &server.other_paths) {
        Destination::Own { tail } => own::serve(&worker, &request, tail).await,
        Destination::Disguised => own::not_found(&worker, &request),
        Destination::Warmup => HttpResponse::Ok().finish(),
        Destination::Root => {
            HttpResponse::Ok().insert_header((CONTENT_TYPE, "text/plain; charset=utf-8")).body(WHAT_THIS_IS)
        }
        Destination::WrongMethod { path } => {
            refused(&Refusal::WrongMethod { allowed: "POST" }, ErrorShape::of(Some(path)))
        }
        Destination::Unknown => refused(&Refusal::PathNotServed, ErrorShape::Anthropic),
        Destination::Llm { path, target } => {
            proxy(&worker, &request, payload, Errand { llm: Some(path), target }).await
        }
        Destination::Other { target } => proxy(&worker, &request, payload, Errand { llm: None, target }).await,
    }
}

/// What somebody sees who opens the gateway's address.
const WHAT_THIS_IS: &str = concat!(
    "qcc-gateway ",
    env!("CARGO_PKG_VERSION"),
    ": an LLM gateway. It speaks the Anthropic API (/v1/messages) and the OpenAI API (/v1/chat/completions and others).\n",
    "State: /__qcc__/stats, health: /__qcc__/health/ready\n",
);
