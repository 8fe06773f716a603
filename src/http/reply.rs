//! Answers to clients: the gateway's own, and the heads of those that are passed on.

use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::http::StatusCode;
use actix_web::http::header::{
    ALLOW, ALT_SVC, CLEAR_SITE_DATA, CONNECTION, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, REFRESH, RETRY_AFTER, SET_COOKIE,
    STRICT_TRANSPORT_SECURITY,
};

use serde_json::json;

use super::names;
use super::scope::RequestScope;
use crate::clock::Clock;
use crate::domain::ids::EndpointId;
use crate::domain::limits::{LONGEST_FOR_CLIENTS, is_beyond_clients_patience, is_millis_beyond_clients_patience};
use crate::domain::logins::is_session_cookie;
use crate::domain::refusal::{ErrorShape, Refusal};
use crate::upstream::leave_end_to_end;

/// The gateway's own answer, in the shape of the path's protocol.
pub(super) fn refuse(refusal: &Refusal, shape: ErrorShape, request_id: &str, help: &str) -> HttpResponse {
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    response.insert_header((CONTENT_TYPE, "application/json"));
    // The header in which the protocol's SDKs look for the id.
    let id_header = match shape {
        ErrorShape::Anthropic => names::UPSTREAM_REQUEST_ID,
        ErrorShape::OpenAi => names::REQUEST_ID,
    };
    response.insert_header((id_header, request_id));
    for (name, value) in refusal.headers() {
        response.insert_header((name, value));
    }
    let response = response.body(refusal.body(shape, request_id, help));
    // actix goes by the response's connection type, not by the header.
    if *refusal == Refusal::Stopping { closing(response) } else { response }
}

/// The headers of an upstream's answer that are passed on. `asked` are those of the request.
pub(super) fn passed_on(headers: HeaderMap, asked: &HeaderMap, clock: Clock) -> HeaderMap {
    let mut kept = headers;
    leave_end_to_end(&mut kept, |name| *name == CONTENT_LENGTH);
    let is_too_long =
        |value: &HeaderValue| value.to_str().is_ok_and(|value| is_beyond_clients_patience(value, clock.since_1970()));
    if kept.get_all(RETRY_AFTER).any(is_too_long) {
        kept.insert(RETRY_AFTER, HeaderValue::from(LONGEST_FOR_CLIENTS.as_secs()));
    }
    if kept.get_all(names::RETRY_AFTER_MS).any(|value| value.to_str().is_ok_and(is_millis_beyond_clients_patience)) {
        kept.insert(names::RETRY_AFTER_MS, HeaderValue::from(LONGEST_FOR_CLIENTS.as_secs() * 1000));
    }
    if may_be_a_page(&kept, asked) {
        // A browser would take it for the gateway's own page, with the gateway's rights.
        kept.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    }
    // Nor may an upstream log anybody out or in, declare for the gateway's host what holds for its own (RFC 6797; RFC
    // 7838), or have browsers report to others (Network Error Logging; Reporting API).
    let of_the_host = [CLEAR_SITE_DATA, STRICT_TRANSPORT_SECURITY, ALT_SVC];
    for name in of_the_host.into_iter().chain([names::NEL, names::REPORT_TO, names::REPORTING_ENDPOINTS, REFRESH]) {
        kept.remove(name);
    }
    // A client that follows it to another host would send there what was meant for the gateway: its key and the
    // conversation.
    for name in [LOCATION, CONTENT_LOCATION] {
        if kept.get_all(&name).any(|target| leads_elsewhere(target.as_bytes())) {
            kept.remove(name);
        }
    }
    if kept.get_all(SET_COOKIE).any(sets_own_cookie) {
        kept.retain(|name, value| *name != SET_COOKIE || !sets_own_cookie(value));
    }
    kept
}

/// Whether a target may lead to another host: anything that does not begin with exactly one slash. Browsers read a
/// backslash as a slash.
fn leads_elsewhere(target: &[u8]) -> bool {
    !matches!(target, [b'/'] | [b'/', 0x20..=0x2e | 0x30..=0x5b | 0x5d..=0x7e, ..])
}

/// Whether a browser could show an answer as a page. Not every browser says what its request is for, nor everywhere.
fn may_be_a_page(headers: &HeaderMap, asked: &HeaderMap) -> bool {
    if let Some(mode) = asked.get(names::FETCH_MODE) {
        return mode == "navigate";
    }
    // If there are several types, a browser takes the last.
    let mut values = headers.get_all(CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    let (Some(value), None) = (values.next().filter(|value| !value.contains(',')), values.next()) else { return true };
    let media_type = value.split(';').next().unwrap_or_default().trim();
    !["application/json", "text/event-stream"].iter().any(|plain| media_type.eq_ignore_ascii_case(plain))
}

/// Whether a `set-cookie` sets the gateway's own session cookie.
fn sets_own_cookie(cookie: &HeaderValue) -> bool {
    // A cookie without a name is sent back as its bare value, which may itself look like a name and a value.
    let cookie = cookie.as_bytes().trim_ascii_start();
    let name = cookie.strip_prefix(b"=").unwrap_or(cookie).split(|byte| matches!(byte, b'=' | b';')).next();
    is_session_cookie(name.unwrap_or_default().trim_ascii())
}

/// Adds what every proxied answer carries: the request's id and, if attempts were made and the operator wants it, the
/// last endpoint, the number of attempts and the trail.
pub(super) fn mark(headers: &mut HeaderMap, request: &RequestScope, with_trail: bool) {
    insert(headers, names::OWN_REQUEST_ID, &request.described.id);
    if with_trail && request.attempts() > 0 {
        let endpoint = request.last_endpoint().map(EndpointId::as_str).unwrap_or_default();
        insert(headers, names::ENDPOINT, endpoint);
        let attempts = match request.attempts() {
            1 => HeaderValue::from_static("1"),
            more => more.into(),
        };
        headers.insert(names::ATTEMPTS, attempts);
        insert(headers, names::TRAIL, request.trail());
    } else {
        // Those of another gateway upstream describe its endpoints.
        for foreign in [names::ENDPOINT, names::ATTEMPTS, names::TRAIL] {
            headers.remove(foreign);
        }
    }
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
        headers.insert(name, value);
    }
}

/// A response with these headers and this body.
pub(super) fn respond(status: StatusCode, headers: HeaderMap, body: BoxBody) -> HttpResponse {
    let mut response = HttpResponse::with_body(status, body);
    *response.headers_mut() = headers;
    response
}

/// Makes the connection close after this answer, for example because something is left unread on it.
pub(super) fn closing(mut response: HttpResponse) -> HttpResponse {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response.head_mut().set_connection_type(actix_web::http::ConnectionType::Close);
    response
}

/// An answer for a client that speaks HTTP/1.0: without chunks, and the connection ends after it. actix writes no
/// `connection: close` then, so it goes in with the reason phrase, which nobody reads.
pub(super) fn for_http_10(response: HttpResponse) -> HttpResponse {
    let mut response = closing(response);
    let head = response.head_mut();
    head.no_chunking(true);
    head.reason = Some("\r\nconnection: close");
    response
}

/// The gateway's own answer as it goes over the wire, for a connection on which no request has come.
pub(super) fn raw_refusal(refusal: &Refusal, request_id: &str, help: &str) -> Vec<u8> {
    let body = refusal.body(ErrorShape::Anthropic, request_id, help);
    let status = refusal.status();
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or_default();
    let further: Vec<String> = refusal.headers().iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let further = further.concat();
    format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{further}request-id: {request_id}\r\nx-qcc-request-id: {request_id}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The body of an answer to HEAD: nothing, with the length of GET's answer only if that is known (RFC 9110, section 8.6).
#[derive(Debug)]
pub(super) struct HeadOnly(pub(super) Option<u64>);

impl MessageBody for HeadOnly {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        self.0.map_or(BodySize::None, BodySize::Sized)
    }

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<bytes::Bytes, Self::Error>>> {
        std::task::Poll::Ready(None)
    }
}

/// The answer to a method that a route does not have.
pub(super) fn wrong_method(allowed: &'static str) -> HttpResponse {
    let error = format!("this route wants the method {allowed}");
    HttpResponse::MethodNotAllowed().insert_header((ALLOW, allowed)).json(json!({ "error": error }))
}
