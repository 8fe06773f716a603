//! Reading the settings anew at an admin's request.

use actix_http::Request;
use actix_web::HttpResponse;
use serde_json::json;

use super::super::reload::Reload;
use super::super::state::Serving;
use super::peer_of;

pub(super) async fn reload(worker: &Serving<'_>, request: &Request) -> HttpResponse {
    match worker.shared.reload.send(Reload { by: Some(peer_of(request)) }).await {
        Ok(Ok(reloaded)) => HttpResponse::Ok().json(reloaded),
        Ok(Err(faults)) => {
            let error = format!("nothing was changed: {} in the settings", faults.count());
            HttpResponse::UnprocessableEntity().json(json!({ "error": error, "faults": faults }))
        }
        Err(_) => super::stopping(),
    }
}
