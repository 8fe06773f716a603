//! Makes the request for an endpoint from a client's: credential, headers, model.

use std::borrow::Cow;
use std::fmt;

use actix_web::http::Method;
use actix_web::http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, HeaderMap, HeaderName, HeaderValue,
};

use super::client::Request;
use super::lines::HeaderLines;
use crate::domain::endpoint::{Auth, AuthStyle, Endpoint, ExtraHeader, Protocol};
use crate::domain::hiding::secrets_in;
use crate::domain::logins::is_session_cookie;
use crate::domain::peek::{Peek, rewrite_model};
use crate::domain::request_body::RequestBody;
use crate::domain::secret::Secret;
use crate::domain::userinfo::Userinfo;

/// The version of the Anthropic API that is asked for if the client names none.
const ANTHROPIC_VERSION: &str = "2023-06-01";

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const VERSION: HeaderName = HeaderName::from_static("anthropic-version");
/// Whose business a header is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Business {
    /// One connection's only (RFC 9110, section 7.6.1); so are those that `connection` names.
    Connection,
    /// The exchange's; the one with the endpoint has its own.
    Exchange,
    /// A credential, or a place where clients send one; the gateway's own key may be in it. It never goes upstream,
    /// unless the endpoint passes the client's own credential through.
    Credential,
    /// The gateway's own: the header for its key alone, which never goes upstream.
    Gateway,
    /// The final recipient's, except for the gateway's own cookie, which may be among the others.
    Cookies,
    /// The final recipient's.
    Recipient,
}

impl Business {
    fn of(name: &HeaderName) -> Self {
        match name.as_str() {
            "connection" | "keep-alive" | "te" | "trailer" | "transfer-encoding" | "upgrade" => Self::Connection,
            "host" | "content-length" | "expect" => Self::Exchange,
            "authorization" | "x-api-key" | "x-goog-api-key" | "api-key"
            // Further ones of relays.
            | "cf-aig-authorization" | "helicone-auth" | "ocp-apim-subscription-key" | "x-litellm-api-key" | "x-portkey-api-key"
            // What proxies in front of the gateway require of their clients, or tell about them.
            | "cf-access-client-id" | "cf-access-client-secret" | "cf-access-jwt-assertion" | "cf-access-token"
            | "x-amzn-oidc-accesstoken" | "x-amzn-oidc-data" | "x-auth-request-access-token" | "x-forwarded-access-token"
            | "x-goog-iap-jwt-assertion" | "x-ms-token-aad-access-token" | "x-ms-token-aad-id-token"
            // Which of a credential's accounts is meant: one of another's is refused like a wrong credential.
            | "openai-organization" | "openai-project" | "x-goog-user-project" => Self::Credential,
            "x-qcc-key" => Self::Gateway,
            "cookie" => Self::Cookies,
            // For an upgrade, which never happens; one relay takes a credential from among the protocols.
            name if name.starts_with("proxy-") || name.starts_with("sec-websocket-") => Self::Connection,
            _ => Self::Recipient,
        }
    }
}

/// What a client asked for, as it is sent to one endpoint after another.
#[derive(Clone)]
pub struct ClientRequest<'a> {
    /// The method.
    pub method: &'a Method,
    /// Path and query, byte for byte.
    pub target: &'a str,
    /// The headers as the client sent them.
    pub headers: &'a HeaderMap,
    /// The body.
    pub body: RequestBody,
    /// The body without its compression, if it came with one.
    pub plain: Option<RequestBody>,
    /// What was read from the body.
    pub peek: Peek,
    /// Whether the answer is inspected, so that it must come uncompressed.
    pub look_into_answer: bool,
    /// Whether its credential is the gateway's own key, which never goes upstream, even if a reload has made the endpoint
    /// one that passes credentials through.
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

    /// The parts of the client's own credential that this endpoint gets.
    pub fn passed_through(&self, endpoint: &Endpoint) -> Vec<Secret> {
        if !self.keeps_credentials(endpoint) {
            return Vec::new();
        }
        let held = self.headers.iter().filter(|(name, _)| Business::of(name) == Business::Credential);
        let values = held.filter_map(|(_, value)| value.to_str().ok());
        values.flat_map(secrets_in).map(Secret::new).collect()
    }

    fn keeps_credentials(&self, endpoint: &Endpoint) -> bool {
        endpoint.auth == Auth::Passthrough && !self.has_gateway_key
    }

    /// The body without compression.
    pub fn readable(&self) -> &RequestBody {
        self.plain.as_ref().unwrap_or(&self.body)
    }

    /// The request for this endpoint.
    pub fn for_endpoint<'e>(&'e self, endpoint: &'e Endpoint) -> Request<'e> {
        let keeps_credentials = self.keeps_credentials(endpoint);
        let named = NamedByConnection::of(self.headers);
        let renamed = self.peek.model.as_deref().and_then(|model| endpoint.model_map.sent(model));
        // The new name can only be written into a body that can be read.
        let goes_plain = renamed.is_some() && self.plain.is_some();
        // With room for the headers that are added.
        let mut headers = HeaderLines::with_capacity(self.headers.len() + 4);
        for (name, value) in self.headers {
            if named.contain(name) || goes_plain && name == CONTENT_ENCODING {
                continue;
            }
            match Business::of(name) {
                Business::Recipient => headers.append_lent(name, value),
                Business::Credential if keeps_credentials => headers.append_lent(name, value),
                Business::Cookies => match without_own(value) {
                    Some(Cow::Borrowed(all)) => headers.append_lent(name, all),
                    Some(Cow::Owned(others)) => headers.append(name.clone(), others),
                    None => {}
                },
                Business::Connection | Business::Exchange | Business::Credential | Business::Gateway => {}
            }
        }
        if self.look_into_answer {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        dress(&mut headers, endpoint, &[]);
        let body = match renamed {
            Some(sent) => rewrite_model(self.readable(), &self.peek, sent),
            None => self.body.clone(),
        };
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

/// Adds what every request to an endpoint carries, real or a verification: its credential, its API version if none is
/// named, and the operator's own headers, which win.
pub(super) fn dress(headers: &mut HeaderLines<'_>, endpoint: &Endpoint, further: &[ExtraHeader]) {
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
        // The settings have checked that this is a header name; if not, it is left out.
        if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
            insert_secret(headers, name, value.expose());
        }
    }
}

/// Adds Basic authentication by a URL's `user:password`.
pub(super) fn insert_basic(headers: &mut HeaderLines<'_>, userinfo: &Userinfo) {
    insert_secret(headers, AUTHORIZATION, &format!("Basic {}", userinfo.credentials().expose()));
}

/// Adds a secret header. The settings have checked that the value can stand in a header; if not, it is left out.
fn insert_secret(headers: &mut HeaderLines<'_>, name: HeaderName, value: &str) {
    if let Ok(mut value) = HeaderValue::from_str(value) {
        value.set_sensitive(true);
        headers.insert(name, value);
    }
}

/// Keeps only the headers of a message that are meant for its final recipient, without those that are to be left out.
/// Values of one name keep their order.
pub fn leave_end_to_end(headers: &mut HeaderMap, is_left_out: impl Fn(&HeaderName) -> bool) {
    let named = NamedByConnection::of(headers);
    let leaves =
        |name: &&HeaderName| Business::of(name) == Business::Connection || is_left_out(name) || named.contain(name);
    // Usually there are one or two.
    let leaving: Vec<HeaderName> = headers.keys().filter(leaves).cloned().collect();
    for name in leaving {
        headers.remove(name);
    }
}

/// A line of cookies (RFC 6265, section 4.2.1) without the gateway's own: the others byte for byte, or `None` if there
/// are none.
fn without_own(line: &HeaderValue) -> Option<Cow<'_, HeaderValue>> {
    let is_own = |pair: &&[u8]| {
        pair.iter().position(|byte| *byte == b'=').is_some_and(|end| is_session_cookie(pair[..end].trim_ascii()))
    };
    let pairs = || line.as_bytes().split(|byte| *byte == b';');
    if !pairs().any(|pair| is_own(&pair)) {
        return Some(Cow::Borrowed(line));
    }
    let others = pairs().filter(|pair| !is_own(pair)).collect::<Vec<_>>().join(&b';');
    let others = others.trim_ascii();
    if others.is_empty() { None } else { HeaderValue::from_bytes(others).ok().map(Cow::Owned) }
}

/// The headers that `connection` says concern one connection only.
struct NamedByConnection<'a>(Vec<&'a [u8]>);

impl<'a> NamedByConnection<'a> {
    /// The headers that a message's `connection` names.
    fn of(headers: &'a HeaderMap) -> Self {
        let names = headers.get_all(CONNECTION).flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        let names = names.map(<[u8]>::trim_ascii);
        // The most common member names a header that is left out anyway.
        Self(names.filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case(b"keep-alive")).collect())
    }

    fn contain(&self, name: &HeaderName) -> bool {
        self.0.iter().any(|named| named.eq_ignore_ascii_case(name.as_str().as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateways_own_cookie_is_taken_from_among_the_others() {
        for (line, left) in [
            ("a=b", Some("a=b")),
            ("a=b;  c ; d=\"e\"", Some("a=b;  c ; d=\"e\"")),
            ("qcc_session=v", None),
            ("qcc_session=v;", None),
            ("qcc_session=v; qcc_session=w", None),
            ("qcc_session=; a=b", Some("a=b")),
            ("a=b; qcc_session=v", Some("a=b")),
            ("a=b;qcc_session=v;c=d==;  e", Some("a=b;c=d==;  e")),
            ("a=b; qcc_session =v", Some("a=b")),
            ("qcc_session_7860=v; a=b; qcc_session_80=w", Some("a=b")),
            (
                "xqcc_session=v; qcc_sessions=w; QCC_SESSION=x; a=qcc_session; qcc_session_=y; qcc_session_x1=z",
                Some("xqcc_session=v; qcc_sessions=w; QCC_SESSION=x; a=qcc_session; qcc_session_=y; qcc_session_x1=z"),
            ),
        ] {
            let value = HeaderValue::from_static(line);
            let found = without_own(&value);
            assert_eq!(found.as_deref().map(HeaderValue::as_bytes), left.map(str::as_bytes), "{line}");
        }
        let foreign = HeaderValue::from_bytes(b"a=\xe4; qcc_session=v").unwrap();
        assert_eq!(without_own(&foreign).as_deref().map(HeaderValue::as_bytes), Some(b"a=\xe4".as_slice()));
    }
}
