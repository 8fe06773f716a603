//! The latest queue moves and verifications: as JSON, or as a continuing stream.

mod stream;

use actix_http::{HttpMessage as _, Request};
use actix_web::HttpResponse;
use actix_web::http::Method;
use actix_web::http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use serde::Serialize;
use serde_json::json;

use self::stream::Pace;
use super::super::state::Serving;
use super::query_of;
use crate::actors::messages::{EventsAfter, NoSubscription, Subscribe};
use crate::clock::Clock;
use crate::domain::conversation::Tokens;
use crate::domain::events::{Event, EventKind};
use crate::domain::ids::{EndpointId, Epoch};
use crate::domain::outcome::Reason;

/// An event as it is shown.
#[derive(Debug, Serialize)]
struct Row {
    seq: u64,
    at: String,
    kind: EventKind,
    endpoint: Option<EndpointId>,
    model: Option<String>,
    epoch: Option<Epoch>,
    reason: Option<Reason>,
    detail: Option<String>,
    by: Option<String>,
    ms: Option<u64>,
    score: Option<u8>,
    tokens: Option<Tokens>,
}

impl Row {
    fn new(seq: u64, event: Event, clock: Clock) -> Self {
        let Event { at, kind, endpoint, model, epoch, reason, detail, by, ms, score, tokens } = event;
        let by = by.map(|address| format!("admin {address}"));
        Self { seq, at: clock.rfc3339(at), kind, endpoint, model, epoch, reason, detail, by, ms, score, tokens }
    }
}

pub(super) async fn events(worker: &Serving<'_>, request: &Request) -> HttpResponse {
    let Some(after) = last_known(request.headers(), query_of(request)) else {
        let error = "`after`, and the header `last-event-id`, are the number of an event";
        return HttpResponse::BadRequest().json(json!({ "error": error }));
    };
    if wants_stream(request.headers()) {
        return live(worker, request, after).await;
    }
    let clock = worker.shared.clock;
    match worker.shared.core.stats.send(EventsAfter(after)).await {
        Ok(events) => {
            let rows: Vec<Row> = events.into_iter().map(|(seq, event)| Row::new(seq, event, clock)).collect();
            HttpResponse::Ok().json(json!({ "events": rows }))
        }
        Err(_) => super::stopping(),
    }
}

/// Streams the events that were missed, and then each as it comes.
async fn live(worker: &Serving<'_>, request: &Request, after: u64) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response
        .insert_header((CONTENT_TYPE, "text/event-stream"))
        // Proxies that buffer answers would hold events back.
        .insert_header(("x-accel-buffering", "no"));
    if request.method() == Method::HEAD {
        return response.finish();
    }
    match worker.shared.core.stats.send(Subscribe(after)).await {
        Ok(Ok(subscription)) => response.streaming(stream::follow(subscription, worker.shared.clock, Pace::USUAL)),
        Ok(Err(full @ NoSubscription::TooMany(_))) => HttpResponse::ServiceUnavailable()
            .insert_header((RETRY_AFTER, "10"))
            .json(json!({ "error": full.to_string() })),
        Ok(Err(NoSubscription::Stopping)) | Err(_) => super::stopping(),
    }
}

/// Whether an event stream is among the types that are accepted (RFC 9110, section 12.5.1).
fn wants_stream(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    accepted
        .filter_map(|range| range.split(';').next())
        .any(|range| range.trim().eq_ignore_ascii_case("text/event-stream"))
}

/// The number after which events are asked for: 0 if none is named, `None` if it is no number. A browser that reconnects
/// names the last event in the header, and still uses its first address.
fn last_known(headers: &HeaderMap, query: &str) -> Option<u64> {
    if let Some(last) = headers.get("last-event-id") {
        return last.to_str().ok()?.trim().parse().ok();
    }
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs.find(|(name, _)| name == "after").map_or(Some(0), |(_, value)| value.parse().ok())
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn the_number_behind_which_is_asked() {
        for (query, number) in [("", Some(0)), ("after=7", Some(7)), ("x=1&after=8", Some(8)), ("after=x", None)] {
            assert_eq!(last_known(&headers(&[]), query), number, "{query}");
        }
        for (last, number) in [("9", Some(9)), (" 9", Some(9)), ("x", None), ("-1", None)] {
            assert_eq!(last_known(&headers(&[("last-event-id", last)]), "after=7"), number, "{last}");
        }
    }

    #[test]
    fn who_accepts_an_event_stream_gets_one() {
        for (accept, wants) in [
            (vec![("accept", "text/event-stream")], true),
            (vec![("accept", "application/json, Text/Event-Stream;q=0.5")], true),
            (vec![("accept", "application/json"), ("accept", "text/event-stream")], true),
            (vec![("accept", "*/*")], false),
            (vec![("accept", "text/event-stream-not")], false),
            (vec![], false),
        ] {
            assert_eq!(wants_stream(&headers(&accept)), wants, "{accept:?}");
        }
    }
}
