//! Logging in to the dashboard and out again. The cookie holds a value that means nothing elsewhere; the token itself is
//! neither in it nor stored.

use actix_http::{HttpMessage as _, Payload, Request};
use actix_web::HttpResponse;
use actix_web::http::header::{HeaderValue, LOCATION, RETRY_AFTER, SET_COOKIE, WWW_AUTHENTICATE};
use serde_json::json;

use super::super::access::{cookie_name, session_of};
use super::super::state::Serving;
use super::{peer_of, small_body};
use crate::actors::messages::{LogIn, LogOut};
use crate::domain::client::KeyDigest;
use crate::domain::logins::{LoginRefused, SESSION_LIFETIME};
use crate::domain::refusal::retry_after_seconds;
use crate::entropy::fresh_credential;

/// Where a browser goes afterwards.
const PAGE: &str = "/__qcc__/";

pub(super) async fn login(worker: &Serving<'_>, request: &Request, payload: Payload) -> HttpResponse {
    let shared = &worker.shared;
    let form = match small_body(worker, request, payload).await {
        Ok(form) => form,
        Err(refused) => return refused,
    };
    let token = url::form_urlencoded::parse(&form).find(|(name, _)| name == "token");
    let Some((_, token)) = token.filter(|(_, token)| !token.trim().is_empty()) else {
        return HttpResponse::BadRequest().json(json!({ "error": "the form has no field `token`, or an empty one" }));
    };
    let Ok(value) = fresh_credential("") else {
        return HttpResponse::InternalServerError().json(json!({ "error": "the system has no randomness to give" }));
    };
    let admin = &worker.config.settings.admin;
    let peer = peer_of(request);
    let shown = KeyDigest::of(token.trim());
    let who = if admin.token == Some(shown) { "admin" } else { "reader" };
    let log_in = LogIn {
        peer,
        shown,
        accepted: [admin.token, admin.read_token].into_iter().flatten().collect(),
        value: KeyDigest::of(value.expose()),
    };
    match shared.core.desk.send(log_in).await {
        Ok(Ok(())) => {
            log::info!("login by {who} {peer}");
            to_the_page(&cookie(request, value.expose(), SESSION_LIFETIME.as_secs()))
        }
        Ok(Err(refused)) => {
            // Anybody can cause this as often as they like.
            log::info!("login refused to {peer}: {refused}");
            let body = json!({ "error": refused.to_string() });
            match refused {
                LoginRefused::WrongToken => {
                    HttpResponse::Unauthorized().insert_header((WWW_AUTHENTICATE, "Bearer")).json(body)
                }
                LoginRefused::TooManyTries { wait } => HttpResponse::TooManyRequests()
                    .insert_header((RETRY_AFTER, retry_after_seconds(wait).to_string()))
                    .json(body),
            }
        }
        Err(_) => super::stopping(),
    }
}

pub(super) async fn logout(worker: &Serving<'_>, request: &Request) -> HttpResponse {
    if let Some(value) = session_of(request.headers())
        && worker.shared.core.desk.send(LogOut(KeyDigest::of(value))).await.is_err()
    {
        return super::stopping();
    }
    to_the_page(&cookie(request, "", 0))
}

/// The session cookie (RFC 6265). Scripts can't read it and other sites' requests don't carry it. It is not `Secure`: the
/// gateway speaks plain HTTP, and what a request says of TLS in front of it may be made up.
fn cookie(request: &Request, value: &str, seconds: u64) -> String {
    let name = cookie_name(request.headers());
    format!("{name}={value}; Path=/__qcc__; Max-Age={seconds}; HttpOnly; SameSite=Strict")
}

fn to_the_page(cookie: &str) -> HttpResponse {
    let mut response = HttpResponse::SeeOther().insert_header((LOCATION, PAGE)).finish();
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}
