//! Whether the gateway is alive, and whether it takes new work.

use actix_web::HttpResponse;
use serde_json::json;

use super::super::state::Serving;
use crate::actors::messages::CountUsable;

pub(super) fn live() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "live" }))
}

/// Whether the gateway takes new work. It does even if no endpoint is usable: its own answer is then still the best.
pub(super) async fn ready(worker: &Serving<'_>) -> HttpResponse {
    let shared = &worker.shared;
    let Ok(usable) = shared.core.registry.send(CountUsable).await else { return super::stopping() };
    if shared.readiness.get() {
        HttpResponse::Ok().json(json!({ "status": "ready", "usable_endpoints": usable }))
    } else {
        HttpResponse::ServiceUnavailable().json(json!({ "status": "not ready", "usable_endpoints": usable }))
    }
}
