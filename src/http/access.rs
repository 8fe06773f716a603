//! Who may use the gateway's own routes.
//!
//! There are no tokens yet. So changes, and reading unless it is public, are for somebody at this very machine: the gateway
//! listens on loopback, the peer is on loopback, speaks HTTP/1.1, names a loopback host, and came through no proxy. The name
//! matters because a web page elsewhere can have its own name resolved to loopback (DNS rebinding).

use std::net::IpAddr;

use actix_web::http::header::{HOST, HeaderMap, ORIGIN};
use actix_web::http::{Method, Version};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;
use url::Url;

use super::state::Worker;

/// What a route asks of whoever uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Anyone may.
    Nothing,
    /// It shows the state.
    Read,
    /// It changes the state.
    Change,
}

/// Why a request may not do what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Denied {
    /// A browser sent it for another site's page.
    #[error("requests from another site's page are refused")]
    CrossSite,
    /// It is not from this machine, straight to a loopback address.
    #[error(
        "without an admin token this route is only for requests from the gateway's own machine, straight to a loopback \
         address that it listens on"
    )]
    NotLocal,
}

impl From<Denied> for HttpResponse {
    fn from(denied: Denied) -> Self {
        Self::Forbidden().json(json!({ "error": denied.to_string() }))
    }
}

/// Whether this request may do what it asks for.
pub(super) fn may(worker: &Worker, request: &HttpRequest, need: Need) -> Result<(), Denied> {
    let settings = &worker.shared.settings;
    if request.method() == Method::POST && is_cross_site(request.headers()) {
        return Err(Denied::CrossSite);
    }
    match need {
        Need::Nothing => Ok(()),
        Need::Read if settings.admin.public_stats => Ok(()),
        Need::Read | Need::Change if settings.server.host.is_loopback() && is_local(request) => Ok(()),
        Need::Read | Need::Change => Err(Denied::NotLocal),
    }
}

fn is_local(request: &HttpRequest) -> bool {
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
    let site = headers.get("sec-fetch-site").and_then(|value| value.to_str().ok());
    if matches!(site, Some("cross-site" | "same-site")) {
        return true;
    }
    let Some(origin) = headers.get(ORIGIN) else { return false };
    let host = headers.get(HOST).and_then(|value| value.to_str().ok());
    let own = |origin: &str| {
        host.is_some_and(|host| origin == format!("http://{host}") || origin == format!("https://{host}"))
    };
    !origin.to_str().is_ok_and(own)
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

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
            (vec![("host", "localhost:1"), ("origin", "http://evil.example")], true),
            (vec![("host", "localhost:1"), ("origin", "null")], true),
            (vec![("host", "localhost:1"), ("sec-fetch-site", "cross-site")], true),
            (vec![("host", "localhost:1"), ("sec-fetch-site", "same-origin")], false),
        ] {
            assert_eq!(is_cross_site(&headers(&pairs)), cross, "{pairs:?}");
        }
    }
}
