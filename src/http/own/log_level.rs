//! Changing the log level at run time.

use actix_http::Request;
use actix_web::HttpResponse;
use serde_json::json;

use super::peer_of;
use crate::telemetry::{LevelError, set_level};

/// Sets the level to a filter in the syntax of `RUST_LOG`.
pub(super) fn set(request: &Request, filter: &[u8]) -> HttpResponse {
    let filter = String::from_utf8_lossy(filter);
    let filter = filter.trim();
    match set_level(filter, &format!("admin {}", peer_of(request))) {
        Ok(()) => HttpResponse::Ok().json(json!({ "level": filter })),
        Err(error) => {
            let body = json!({ "error": error.to_string() });
            match error {
                LevelError::NoFilter { .. } => HttpResponse::BadRequest().json(body),
                LevelError::NotRunning(_) => HttpResponse::Conflict().json(body),
            }
        }
    }
}
