//! Is it alive, and does it take new work?

use actix_web::HttpResponse;
use serde_json::json;

use super::super::state::Serving;
use crate::actors::messages::ViewRegistry;
use crate::domain::queues::Standing;

pub(super) fn live() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "live" }))
}

/// Ready also where no endpoint is usable: the gateway still answers best.
pub(super) async fn ready(worker: &Serving<'_>) -> HttpResponse {
    let shared = &worker.shared;
    let Ok(view) = shared.core.registry.send(ViewRegistry).await else { return super::stopping() };
    let is_usable = |standing| matches!(standing, Standing::Primary | Standing::Secondary);
    let usable = view.endpoints.iter().filter(|endpoint| is_usable(endpoint.standing)).count();
    if shared.readiness.get() {
        HttpResponse::Ok().json(json!({ "status": "ready", "usable_endpoints": usable }))
    } else {
        HttpResponse::ServiceUnavailable().json(json!({ "status": "not ready", "usable_endpoints": usable }))
    }
}
