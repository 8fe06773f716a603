//! What an admin does to an endpoint.

use std::net::IpAddr;

use actix::MailboxError;
use actix_http::Request;
use actix_web::HttpResponse;
use serde::Serialize;
use serde_json::json;

use super::super::state::Serving;
use super::rows::{EndpointRow, endpoint_row};
use super::{Act, peer_of};
use crate::actors::messages::{AwaitKept, Isolate, SetEnabled, VerifyNow};
use crate::domain::conversation::Tokens;
use crate::domain::ids::EndpointId;
use crate::domain::queues::SwitchError;
use crate::domain::time::whole_millis;
use crate::domain::verification::Verification;

/// A verification's verdict as it is shown.
#[derive(Debug, Serialize)]
struct Verdict {
    ok: bool,
    status: Option<u16>,
    #[serde(rename = "type")]
    error_type: Option<String>,
    ms: u64,
    score: u8,
    tokens: Tokens,
    error: Option<String>,
    endpoint: Option<EndpointRow>,
}

impl Verdict {
    fn new(verification: Verification, endpoint: Option<EndpointRow>) -> Self {
        let Verification { ok, status, error_type, elapsed, score, tokens, error } = verification;
        let ms = whole_millis(elapsed);
        Self { ok, status, error_type, ms, score, tokens, error, endpoint }
    }
}

pub(super) async fn act(worker: &Serving<'_>, request: &Request, id: EndpointId, act: Act) -> HttpResponse {
    let by = peer_of(request);
    let registry = &worker.shared.core.registry;
    let done = match act {
        Act::Verify => return verify(worker, id, by).await,
        Act::Isolate => registry.send(Isolate { id: id.clone(), by }).await,
        Act::Disable => registry.send(SetEnabled { id: id.clone(), enabled: false, by }).await,
        Act::Enable => registry.send(SetEnabled { id: id.clone(), enabled: true, by }).await,
    };
    match done {
        Ok(Ok(())) => match endpoint_row(worker, &id).await {
            Ok(Some(row)) => HttpResponse::Ok().json(row),
            Ok(None) => refused(SwitchError::Unknown),
            Err(MailboxError::Closed | MailboxError::Timeout) => super::stopping(),
        },
        Ok(Err(error)) => refused(error),
        Err(_) => super::stopping(),
    }
}

async fn verify(worker: &Serving<'_>, id: EndpointId, by: IpAddr) -> HttpResponse {
    let verification = match worker.shared.core.registry.send(VerifyNow { id: id.clone(), by }).await {
        Ok(Ok(verification)) => verification,
        Ok(Err(error)) => return refused(error),
        Err(_) => return super::stopping(),
    };
    // Like everything that an admin brings about, a recovery is reported only once the next process would know of it.
    if verification.ok && worker.shared.core.registry.send(AwaitKept).await.is_err() {
        return super::stopping();
    }
    // Looked at afterwards, so that a recovery shows.
    match endpoint_row(worker, &id).await {
        Ok(row) => HttpResponse::Ok().json(Verdict::new(verification, row)),
        Err(_) => super::stopping(),
    }
}

fn refused(error: SwitchError) -> HttpResponse {
    let body = json!({ "error": error.to_string() });
    match error {
        SwitchError::Unknown => HttpResponse::NotFound().json(body),
        SwitchError::NoCredential | SwitchError::Disabled => HttpResponse::Conflict().json(body),
    }
}
