//! Who may use the gateway's own routes.
//!
//! With an admin token: whoever shows it; the read token may only read. Without one: a client on this very machine, that
//! is, the gateway listens on loopback, the peer is on loopback, speaks HTTP/1.1, names a loopback host, and came through
//! no proxy. The name matters because a web page elsewhere can have its own name resolved to loopback (DNS rebinding).

use actix_http::{HttpMessage as _, Request};
use std::net::IpAddr;

use actix_web::HttpResponse;
use actix_web::http::header::{COOKIE, HOST, HeaderMap, HeaderValue, ORIGIN, WWW_AUTHENTICATE};
use actix_web::http::{Method, Version};
use serde_json::json;
use url::Url;

use super::auth::bearer_tokens;
use super::names;
use super::state::Serving;
use crate::actors::messages::TokenOfSession;
use crate::domain::client::KeyDigest;
use crate::domain::logins::session_cookie;
use crate::settings::Settings;

/// The access that a route requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Anyone may.
    Nothing,
    /// It shows stats, metrics or events, which `admin.public_stats` opens to everybody.
    Read,
    /// It shows more than that, such as the log, and is never open to everybody.
    ReadPrivate,
    /// It changes the state.
    Change,
}

/// Why a request may not do what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Denied {
    /// A browser sent it for another site's page.
    #[error("requests from another site's page are refused")]
    CrossSite,
    /// It shows no token.
    #[error(
        "this route wants a token, as `authorization: Bearer …`, and the request shows none: the admin token, or for reading the read token"
    )]
    NoToken,
    /// It shows a token that is neither the admin token nor the read token.
    #[error("the gateway does not know this token; set admin.token, or one of its other forms, and show the same")]
    WrongToken,
    /// It shows the read token, and the route changes something.
    #[error("the read token changes nothing: this route wants the admin token")]
    ReadOnly,
    /// Sessions can no longer be looked up: the process is about to end.
    #[error("the gateway is stopping")]
    Stopping,
    /// It is not from this machine, straight to a loopback address.
    #[error(
        "without an admin token this route is only for requests from the gateway's own machine, straight to a loopback \
         address that it listens on"
    )]
    NotLocal,
}

impl From<Denied> for HttpResponse {
    fn from(denied: Denied) -> Self {
        let body = json!({ "error": denied.to_string() });
        match denied {
            Denied::NoToken | Denied::WrongToken => {
                Self::Unauthorized().insert_header((WWW_AUTHENTICATE, "Bearer")).json(body)
            }
            Denied::CrossSite | Denied::ReadOnly | Denied::NotLocal => Self::Forbidden().json(body),
            Denied::Stopping => Self::ServiceUnavailable().json(body),
        }
    }
}

/// What a request's sender was recognised as, and by what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// By the admin token or, where there is none, as a client on this machine.
    Admin,
    /// By the read token.
    Reader,
    /// By the cookie of a session that the admin token opened.
    AdminBySession,
    /// By the cookie of a session that the read token opened.
    ReaderBySession,
}

/// Whether this request may do what it asks for.
pub(super) async fn may(worker: &Serving<'_>, request: &Request, need: Need) -> Result<(), Denied> {
    let headers = request.headers();
    if !matches!(*request.method(), Method::GET | Method::HEAD) && is_cross_site(headers) {
        return Err(Denied::CrossSite);
    }
    match need {
        Need::Nothing => Ok(()),
        Need::Read if worker.config.settings.admin.public_stats => Ok(()),
        Need::Read | Need::ReadPrivate => recognise(worker, request).await.map(|_| ()),
        Need::Change => match recognise(worker, request).await? {
            // A browser adds the cookie on its own, but not for another site's page, nor without saying whose page sent
            // the request.
            Known::Admin | Known::AdminBySession => Ok(()),
            Known::Reader | Known::ReaderBySession => Err(Denied::ReadOnly),
        },
    }
}

/// Recognises a request's sender.
pub(super) async fn recognise(worker: &Serving<'_>, request: &Request) -> Result<Known, Denied> {
    let settings = &worker.config.settings;
    let admin = &settings.admin;
    let shown: Vec<&str> = bearer_tokens(request.headers()).collect();
    // Every token shown is compared with both, each in constant time, so that the response time tells nothing.
    let is_shown = |digest: Option<&KeyDigest>| {
        shown.iter().fold(false, |fits, token| fits | digest.is_some_and(|digest| digest.matches(token)))
    };
    let (is_admin, is_reader) = (is_shown(admin.token.as_ref()), is_shown(admin.read_token.as_ref()));
    // If either listening address is not loopback, being on this machine makes nobody an admin.
    let is_here = || admin.token.is_none() && settings.listens_here_alone() && is_local(request);
    if is_admin || is_here() {
        return Ok(Known::Admin);
    }
    if is_reader {
        return Ok(Known::Reader);
    }
    if let Some(value) = session_of(request.headers()) {
        let opened_with = worker.shared.core.desk.send(TokenOfSession(KeyDigest::of(value))).await;
        let opened_with = opened_with.map_err(|_| Denied::Stopping)?;
        // When a token is no longer configured, its sessions end with it.
        if opened_with.is_some() && opened_with == admin.token {
            return Ok(Known::AdminBySession);
        }
        if opened_with.is_some() && opened_with == admin.read_token {
            return Ok(Known::ReaderBySession);
        }
    }
    match (admin.token, shown.is_empty()) {
        (None, _) => Err(Denied::NotLocal),
        (Some(_), true) => Err(Denied::NoToken),
        (Some(_), false) => Err(Denied::WrongToken),
    }
}

/// The name of the session cookie for the `host` that the request names.
pub(super) fn cookie_name(headers: &HeaderMap) -> String {
    let authority = headers.get(HOST).and_then(|value| value.to_str().ok());
    session_cookie(authority.and_then(|authority| authority.rsplit_once(':')?.1.parse().ok()))
}

/// The value of the session cookie (RFC 6265, section 4.2.1).
pub(super) fn session_of(headers: &HeaderMap) -> Option<&str> {
    let own = cookie_name(headers);
    let cookies = headers.get_all(COOKIE).filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(';'));
    let mut pairs = cookies.filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, value)| *name == own && !value.is_empty()).map(|(_, value)| value)
}

fn is_local(request: &Request) -> bool {
    let peer_is_local = request.peer_addr().is_some_and(|peer| peer.ip().to_canonical().is_loopback());
    peer_is_local
        && request.version() == Version::HTTP_11
        && names_loopback(request.headers())
        && came_directly(request.headers())
}

fn names_loopback(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST);
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    host.to_str().is_ok_and(is_loopback_name)
}

/// Whether an authority (RFC 9110, section 7.2) is a name or an address of loopback.
fn is_loopback_name(authority: &str) -> bool {
    let Ok(url) = Url::parse(&format!("http://{authority}/")) else { return false };
    if !url.username().is_empty() || url.password().is_some() {
        return false;
    }
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(url::Host::Ipv6(address)) => IpAddr::V6(address).to_canonical().is_loopback(),
        None => false,
    }
}

fn came_directly(headers: &HeaderMap) -> bool {
    headers.keys().all(|name| {
        let name = name.as_str();
        name != "forwarded" && name != "via" && !name.starts_with("x-forwarded-")
    })
}

/// Whether a browser says that another site's page sent this.
fn is_cross_site(headers: &HeaderMap) -> bool {
    let site = headers.get(names::FETCH_SITE).and_then(|value| value.to_str().ok());
    if matches!(site, Some("cross-site" | "same-site")) {
        return true;
    }
    headers.contains_key(ORIGIN) && !has_own_origin(headers)
}

/// Whether a browser sent this for a page other than the gateway's own: another site's, or, if the gateway is only for
/// this machine, one whose name was rebound to loopback.
pub(super) fn is_from_a_foreign_page(headers: &HeaderMap, settings: &Settings) -> bool {
    let is_from_a_page = headers.contains_key(ORIGIN) || headers.contains_key(names::FETCH_SITE);
    let is_rebound = || settings.listens_here_alone() && !names_loopback(headers);
    is_from_a_page && (is_cross_site(headers) || is_rebound())
}

fn has_own_origin(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let (Some(origin), Some(host)) = (text(ORIGIN), text(HOST)) else { return false };
    origin == format!("http://{host}") || origin == format!("https://{host}")
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderName;

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        map
    }

    #[test]
    fn only_loopback_names_are_loopback() {
        for name in ["localhost", "localhost:7860", "127.0.0.1:80", "127.9.9.9", "[::1]:7860", "LOCALHOST"] {
            assert!(is_loopback_name(name), "{name}");
        }
        for name in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1", "", "a@localhost"]
        {
            assert!(!is_loopback_name(name), "{name}");
        }
        assert!(!names_loopback(&headers(&[("host", "localhost"), ("host", "localhost")])));
    }

    #[test]
    fn a_request_through_a_proxy_is_not_direct() {
        assert!(came_directly(&headers(&[("host", "localhost")])));
        for name in ["via", "forwarded", "x-forwarded-for", "x-forwarded-proto"] {
            assert!(!came_directly(&headers(&[(name, "x")])), "{name}");
        }
    }

    #[test]
    fn another_sites_page_is_recognised() {
        for (pairs, cross) in [
            (vec![("host", "localhost:1")], false),
            (vec![("host", "localhost:1"), ("origin", "http://localhost:1")], false),
            (vec![("host", "localhost:1"), ("origin", "https://localhost:1")], false),
            (vec![("host", "localhost:1"), ("origin", "http://localhost:2")], true),
            (vec![("host", "localhost:1"), ("sec-fetch-site", "none")], false),
            (vec![("host", "localhost:1"), ("sec-fetch-site", "same-site")], true),
            (vec![("host", "localhost:1"), ("sec-fetch-site", "same-origin"), ("origin", "null")], true),
            (vec![("origin", "http://")], true),
            (vec![("host", "localhost:1"), ("origin", "http://evil.example")], true),
            (vec![("host", "localhost:1"), ("origin", "null")], true),
            (vec![("host", "localhost:1"), ("sec-fetch-site", "cross-site")], true),
            (vec![("host", "localhost:1"), ("sec-fetch-site", "same-origin")], false),
        ] {
            assert_eq!(is_cross_site(&headers(&pairs)), cross, "{pairs:?}");
        }
    }

    #[test]
    fn the_session_is_found_among_other_cookies() {
        for (pairs, value) in [
            (vec![("cookie", "a=b; qcc_session=v; c=d")], Some("v")),
            (vec![("cookie", "a=b"), ("cookie", "qcc_session=v")], Some("v")),
            (vec![("cookie", "qcc_session=")], None),
            (vec![("cookie", "xqcc_session=v; qcc_session")], None),
            (vec![("host", "a:1"), ("cookie", "qcc_session=v; qcc_session_2=w; qcc_session_1=x")], Some("x")),
            (vec![("host", "[::1]:2"), ("cookie", "qcc_session=v; qcc_session_2=w; qcc_session_1=x")], Some("w")),
            (vec![("host", "[::1]"), ("cookie", "qcc_session_1=x; qcc_session=v")], Some("v")),
            (vec![("host", "a"), ("cookie", "qcc_session_1=x")], None),
            (vec![], None),
        ] {
            assert_eq!(session_of(&headers(&pairs)), value, "{pairs:?}");
        }
    }
}
