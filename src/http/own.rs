//! The gateway's own routes, below `/__qcc__`.

mod admin;
mod events;
mod health;
mod stats;

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse};

use super::access::{Need, may};
use super::identity::request_id;
use super::reply::{refuse, wrong_method};
use super::state::Worker;
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
    Live,
    Ready,
    Stats,
    Events,
    Endpoint(EndpointId, Act),
}

impl Route {
    /// The route of a path behind the prefix.
    fn find(tail: &str) -> Option<Self> {
        match tail {
            "/health/live" => return Some(Self::Live),
            "/health/ready" => return Some(Self::Ready),
            "/stats" => return Some(Self::Stats),
            "/events" => return Some(Self::Events),
            _ => {}
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
            Self::Live | Self::Ready | Self::Stats | Self::Events => ("GET, HEAD", Method::GET),
            Self::Endpoint(..) => ("POST", Method::POST),
        }
    }

    const fn need(&self) -> Need {
        match self {
            Self::Live | Self::Ready => Need::Nothing,
            Self::Stats | Self::Events => Need::Read,
            Self::Endpoint(..) => Need::Change,
        }
    }
}

/// Answers a request for one of the gateway's own routes.
pub(super) async fn serve(worker: &Worker, request: &HttpRequest, tail: &str) -> HttpResponse {
    let Some(route) = Route::find(tail) else { return not_found(worker, request) };
    let (allowed, method) = route.method();
    let asked = if request.method() == Method::HEAD { Method::GET } else { request.method().clone() };
    if asked != method {
        return wrong_method(allowed);
    }
    if let Err(denied) = may(worker, request, route.need()) {
        return denied.into();
    }
    match route {
        Route::Live => health::live(),
        Route::Ready => health::ready(worker).await,
        Route::Stats => stats::stats(worker).await,
        Route::Events => events::events(worker, request).await,
        Route::Endpoint(id, act) => admin::act(worker, request, id, act).await,
    }
}

/// A path below the prefix that is no route, or a spelling that only resembles one.
pub(super) fn not_found(worker: &Worker, request: &HttpRequest) -> HttpResponse {
    let id = request_id(request.headers());
    refuse(&Refusal::NoSuchRoute, ErrorShape::Anthropic, &id, &worker.shared.settings.server.help)
}

/// The actors are gone: the process is about to end.
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
            ("/health/live", Some(Route::Live)),
            ("/stats", Some(Route::Stats)),
            ("/endpoints/main/verify", Some(Route::Endpoint(id.clone(), Act::Verify))),
            ("/endpoints/main/enable", Some(Route::Endpoint(id, Act::Enable))),
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
