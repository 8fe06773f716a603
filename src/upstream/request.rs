//! From a client's request to the one that an endpoint gets: credential, headers, model.

use std::fmt;

use actix_web::http::Method;
use actix_web::http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use percent_encoding::percent_decode_str;

use super::client::Request;
use super::lines::HeaderLines;
use crate::domain::endpoint::{Auth, AuthStyle, Endpoint, ExtraHeader, Protocol};
use crate::domain::peek::{Peek, rewrite_model};
use crate::domain::secret::Secret;

/// The version of the Anthropic API that is asked for where the client names none.
const ANTHROPIC_VERSION: &str = "2023-06-01";

/// Headers in which clients send credentials, the gateway's own included. They never go upstream, but where the endpoint
/// passes the client's own credential through.
const CREDENTIALS: [HeaderName; 4] =
    [AUTHORIZATION, API_KEY, HeaderName::from_static("x-goog-api-key"), HeaderName::from_static("api-key")];
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// The header for the gateway's key alone: it never goes upstream.
const OWN_KEY: HeaderName = HeaderName::from_static("x-qcc-key");
/// What the exchange with the endpoint has of its own.
const OF_THE_EXCHANGE: [HeaderName; 3] = [HOST, CONTENT_LENGTH, EXPECT];
const VERSION: HeaderName = HeaderName::from_static("anthropic-version");
/// Headers that concern one connection only (RFC 9110, section 7.6.1), beside those that `connection` names.
const HOP_BY_HOP: [HeaderName; 5] = [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// What a client asked for, as it is sent to one endpoint after another.
#[derive(Clone)]
pub struct ClientRequest<'a> {
    /// The method.
    pub method: &'a Method,
    /// Path and query to the byte.
    pub target: &'a str,
    /// The headers as the client sent them.
    pub headers: &'a HeaderMap,
    /// The body.
    pub body: Bytes,
    /// What was seen of the body.
    pub peek: Peek,
    /// Whether the answer is to be looked into, so that it must come uncompressed.
    pub look_into_answer: bool,
    /// Whether its credential is the gateway's own key, which never goes upstream, also if a reload has made the endpoint one
    /// that passes credentials through.
    pub has_gateway_key: bool,
    /// Whether it may be sent again on a fresh connection when a pooled one ended without an answer.
    pub resend_stale: bool,
}

impl fmt::Debug for ClientRequest<'_> {
    /// Without headers, query and body, which hold credentials and what people say.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, body, .. } = self;
        f.debug_struct("ClientRequest")
            .field("method", method)
            .field("body_length", &body.len())
            .finish_non_exhaustive()
    }
}

impl ClientRequest<'_> {
    /// The model that the endpoint is asked for.
    pub fn model_for<'e>(&'e self, endpoint: &'e Endpoint) -> Option<&'e str> {
        let named = self.peek.model.as_deref()?;
        Some(endpoint.model_map.sent(named).unwrap_or(named))
    }

    /// The request for this endpoint.
    pub fn for_endpoint<'e>(&self, endpoint: &'e Endpoint) -> Request<'e> {
        let keeps_credentials = endpoint.auth == Auth::Passthrough && !self.has_gateway_key;
        let mut headers = end_to_end(self.headers, |name| {
            OF_THE_EXCHANGE.contains(name) || *name == OWN_KEY || (!keeps_credentials && CREDENTIALS.contains(name))
        });
        if self.look_into_answer {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        dress(&mut headers, endpoint, &[]);
        let renamed = self.peek.model.as_deref().and_then(|model| endpoint.model_map.sent(model));
        let body = renamed.map_or_else(|| self.body.clone(), |sent| rewrite_model(&self.body, &self.peek, sent));
        Request {
            origin: endpoint.base_url.origin(),
            method: self.method.clone(),
            target: endpoint.base_url.target(self.target),
            headers,
            body,
            resend_stale: self.resend_stale,
        }
    }
}

/// What every request to an endpoint carries, real or a verification: its credential, its API version where none is named,
/// and the operator's own headers, which win.
pub(super) fn dress(headers: &mut HeaderLines, endpoint: &Endpoint, further: &[ExtraHeader]) {
    if endpoint.protocol == Protocol::Anthropic && !headers.contains(&VERSION) {
        headers.insert(VERSION, HeaderValue::from_static(ANTHROPIC_VERSION));
    }
    if let Auth::Own { style, key } = &endpoint.auth {
        if matches!(style, AuthStyle::XApiKey | AuthStyle::Both) {
            insert_secret(headers, API_KEY, key.expose());
        }
        if matches!(style, AuthStyle::Bearer | AuthStyle::Both) {
            insert_secret(headers, AUTHORIZATION, &format!("Bearer {}", key.expose()));
        }
    }
    if let Some(userinfo) = endpoint.base_url.userinfo() {
        insert_basic(headers, userinfo);
    }
    for (name, value) in endpoint.headers.iter().chain(further) {
        // The settings have checked that it is a header's name; should it be none, it is left out.
        if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
            insert_secret(headers, name, value.expose());
        }
    }
}

/// Basic authentication (RFC 7617) by a URL's `user:password`, which is percent-encoded there.
pub(super) fn insert_basic(headers: &mut HeaderLines, userinfo: &Secret) {
    let decoded: Vec<u8> = percent_decode_str(userinfo.expose()).collect();
    insert_secret(headers, AUTHORIZATION, &format!("Basic {}", STANDARD.encode(decoded)));
}

/// The settings have checked that the value can stand in a header; should it not, it is left out.
fn insert_secret(headers: &mut HeaderLines, name: HeaderName, value: &str) {
    if let Ok(mut value) = HeaderValue::from_str(value) {
        value.set_sensitive(true);
        headers.insert(name, value);
    }
}

/// Leaves of a message's headers those that are meant for its final recipient, and of them all but those that are left out.
/// Values of one name keep their order.
pub fn leave_end_to_end(headers: &mut HeaderMap, is_left_out: impl Fn(&HeaderName) -> bool) {
    let hops = HopByHop::of(headers);
    let leaves = |name: &&HeaderName| hops.contain(name) || is_left_out(name);
    // Mostly there are one or two.
    let leaving: Vec<HeaderName> = headers.keys().filter(leaves).cloned().collect();
    for name in leaving {
        headers.remove(name);
    }
}

/// The same of headers that stay where they are.
fn end_to_end(headers: &HeaderMap, is_left_out: impl Fn(&HeaderName) -> bool) -> HeaderLines {
    // With room for what is added.
    let mut kept = HeaderLines::with_capacity(headers.len() + 4);
    let hops = HopByHop::of(headers);
    for (name, value) in headers.iter().filter(|(name, _)| !hops.contain(name) && !is_left_out(name)) {
        kept.append(name.clone(), value.clone());
    }
    kept
}

/// Headers that concern one connection only.
struct HopByHop<'a> {
    /// Those that `connection` names, one by one.
    named: Vec<&'a str>,
}

impl<'a> HopByHop<'a> {
    /// Those of a message.
    fn of(headers: &'a HeaderMap) -> Self {
        let values = headers.get_all(CONNECTION).filter_map(|value| value.to_str().ok());
        Self { named: values.flat_map(|value| value.split(',')).map(str::trim).collect() }
    }

    fn contain(&self, name: &HeaderName) -> bool {
        HOP_BY_HOP.contains(name)
            || *name == KEEP_ALIVE
            || name.as_str().starts_with("proxy-")
            || self.named.iter().any(|named| named.eq_ignore_ascii_case(name.as_str()))
    }
}
