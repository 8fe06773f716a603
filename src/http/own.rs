//! The gateway's own routes, below `/__qcc__`.

mod admin;
mod assets;
mod callers;
mod events;
mod health;
mod log_level;
mod login;
mod logs;
mod metrics;
mod page;
mod reload;
mod rows;
mod stats;
mod usage;

use actix_http::{HttpMessage as _, Payload, Request};
use std::net::{IpAddr, Ipv4Addr};

use actix_web::HttpResponse;
use actix_web::http::Method;
use actix_web::http::header::{CACHE_CONTROL, HeaderValue};

use bytes::Bytes;

use self::assets::Asset;
use super::access::{Need, may};
use super::connection::ClientSide;
use super::identity::request_id;
use super::intake::{BodyLimits, NoBody, read_body};
use super::reply::{closing, refuse, wrong_method};
use super::state::{Door, Serving};
use crate::domain::ids::EndpointId;
use crate::domain::refusal::{ErrorShape, Refusal};

/// What an admin can do to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Verify,
    Isolate,
    Disable,
    Enable,
}

/// A route, found by its path alone.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Route {
    Page,
    Asset(&'static Asset),
    Login,
    Logout,
    Live,
    Ready,
    Stats,
    Metrics,
    Usage,
    Events,
    Logs,
    LogLevel,
    Reload,
    Endpoint(EndpointId, Act),
}

impl Route {
    /// The route of a path, given without the prefix.
    fn find(tail: &str) -> Option<Self> {
        match tail {
            "/" => return Some(Self::Page),
            "/login" => return Some(Self::Login),
            "/logout" => return Some(Self::Logout),
            "/health/live" => return Some(Self::Live),
            "/health/ready" => return Some(Self::Ready),
            "/stats" => return Some(Self::Stats),
            "/metrics" => return Some(Self::Metrics),
            "/usage" => return Some(Self::Usage),
            "/events" => return Some(Self::Events),
            "/logs" => return Some(Self::Logs),
            "/log-level" => return Some(Self::LogLevel),
            "/reload" => return Some(Self::Reload),
            _ => {}
        }
        if let Some(name) = tail.strip_prefix("/assets/") {
            return Asset::find(name).map(Self::Asset);
        }
        let (id, act) = tail.strip_prefix("/endpoints/")?.split_once('/')?;
        let act = match act {
            "verify" => Act::Verify,
            "isolate" => Act::Isolate,
            "disable" => Act::Disable,
            "enable" => Act::Enable,
            _ => return None,
        };
        Some(Self::Endpoint(EndpointId::new(id).ok()?, act))
    }

    const fn method(&self) -> (&'static str, Method) {
        match self {
            Self::Page
            | Self::Asset(_)
            | Self::Live
            | Self::Ready
            | Self::Stats
            | Self::Metrics
            | Self::Usage
            | Self::Events
            | Self::Logs => ("GET, HEAD", Method::GET),
            Self::LogLevel => ("PUT", Method::PUT),
            Self::Login | Self::Logout | Self::Reload | Self::Endpoint(..) => ("POST", Method::POST),
        }
    }

    const fn need(&self) -> Need {
        match self {
            Self::Page | Self::Asset(_) | Self::Login | Self::Logout | Self::Live | Self::Ready => Need::Nothing,
            Self::Stats | Self::Metrics | Self::Events => Need::Read,
            Self::Usage | Self::Logs => Need::ReadPrivate,
            Self::LogLevel | Self::Reload | Self::Endpoint(..) => Need::Change,
        }
    }
}

/// Answers a request for one of the gateway's own routes.
pub(super) async fn serve(
    worker: &Serving<'_>,
    request: &Request,
    payload: Payload,
    tail: &str,
    door: Door,
) -> HttpResponse {
    let Some(route) = Route::find(tail) else { return not_found(worker, request) };
    if door == Door::Clients && !matches!(route, Route::Live | Route::Ready) {
        return not_found(worker, request);
    }
    let (allowed, method) = route.method();
    let asked = if request.method() == Method::HEAD { Method::GET } else { request.method().clone() };
    if asked != method {
        return wrong_method(allowed);
    }
    if let Err(denied) = may(worker, request, route.need()).await {
        return denied.into();
    }
    let mut response = match route {
        Route::Page => page::page(worker, request).await,
        Route::Asset(asset) => asset.answer(request),
        Route::Login => login::login(worker, request, payload).await,
        Route::Logout => login::logout(worker, request).await,
        Route::Live => health::live(),
        Route::Ready => health::ready(worker).await,
        Route::Stats => stats::stats(worker).await,
        Route::Metrics => metrics::metrics(worker).await,
        Route::Usage => usage::usage(worker, request).await,
        Route::Events => events::events(worker, request).await,
        Route::Logs => logs::logs(request).await,
        Route::LogLevel => match small_body(worker, request, payload).await {
            Ok(filter) => log_level::set(request, &filter),
            Err(refused) => refused,
        },
        Route::Reload => reload::reload(worker, request).await,
        Route::Endpoint(id, act) => admin::act(worker, request, id, act).await,
    };
    // A browser or a proxy must not show the present state again later, or to somebody else. Assets set their own header.
    let headers = response.headers_mut();
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// The longest body that one of the gateway's own routes takes, in bytes.
const LARGEST_BODY: u64 = 8 << 10;

/// Reads the body of a request for one of the gateway's own routes.
async fn small_body(worker: &Serving<'_>, request: &Request, mut payload: Payload) -> Result<Bytes, HttpResponse> {
    let shared = &worker.shared;
    let limits = BodyLimits { size: LARGEST_BODY, ..BodyLimits::of(&worker.config.settings.server) };
    let client = ClientSide::of(request);
    match read_body(&mut payload, request.headers(), limits, &shared.buffered, &client, &shared.drain).await {
        Ok((body, _)) => Ok(body.into_one()),
        Err(NoBody::ClientGone) => Err(closing(HttpResponse::BadRequest().finish())),
        Err(NoBody::Refused(refusal)) => {
            let id = request_id(request.headers());
            Err(closing(refuse(&refusal, ErrorShape::Anthropic, &id, &worker.config.settings.server.help)))
        }
    }
}

/// What follows the path's `?`.
fn query_of(request: &Request) -> &str {
    request.uri().query().unwrap_or_default()
}

/// The address that a request came from, which names an admin.
fn peer_of(request: &Request) -> IpAddr {
    request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip())
}

/// The answer for a path below the prefix that is no route, or only resembles one.
pub(super) fn not_found(worker: &Serving<'_>, request: &Request) -> HttpResponse {
    let id = request_id(request.headers());
    refuse(&Refusal::NoSuchRoute, ErrorShape::Anthropic, &id, &worker.config.settings.server.help)
}

/// The answer when the actors are gone: the process is about to end.
fn stopping() -> HttpResponse {
    HttpResponse::ServiceUnavailable().body("the gateway is stopping")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_found_by_their_exact_path() {
        let id = EndpointId::new("main").unwrap();
        for (tail, route) in [
            ("/", Some(Route::Page)),
            ("/health/live", Some(Route::Live)),
            ("/stats", Some(Route::Stats)),
            ("/metrics", Some(Route::Metrics)),
            ("/usage", Some(Route::Usage)),
            ("/endpoints/main/verify", Some(Route::Endpoint(id.clone(), Act::Verify))),
            ("/endpoints/main/enable", Some(Route::Endpoint(id, Act::Enable))),
            ("/assets/main.js", Asset::find("main.js").map(Route::Asset)),
            ("/assets/", None),
            ("/assets/../stats", None),
            ("/endpoints/main", None),
            ("/endpoints//verify", None),
            ("/endpoints/MAIN/verify", None),
            ("/endpoints/main/verify/", None),
            ("/stats/", None),
            ("", None),
        ] {
            assert_eq!(Route::find(tail), route, "{tail}");
        }
    }
}
