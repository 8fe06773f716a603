//! The latest queue moves and verifications.

use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use serde_json::json;

use super::super::state::Serving;
use crate::actors::messages::EventsAfter;
use crate::clock::Clock;
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
}

impl Row {
    fn new(seq: u64, event: Event, clock: Clock) -> Self {
        let Event { at, kind, endpoint, model, epoch, reason, detail, by, ms, score } = event;
        let by = by.map(|address| format!("admin {address}"));
        Self { seq, at: clock.rfc3339(at), kind, endpoint, model, epoch, reason, detail, by, ms, score }
    }
}

pub(super) async fn events(worker: &Serving<'_>, request: &HttpRequest) -> HttpResponse {
    let Some(after) = after(request.query_string()) else {
        return HttpResponse::BadRequest().json(json!({ "error": "`after` is the number of an event" }));
    };
    let clock = worker.shared.clock;
    match worker.shared.core.stats.send(EventsAfter(after)).await {
        Ok(events) => {
            let rows: Vec<Row> = events.into_iter().map(|(seq, event)| Row::new(seq, event, clock)).collect();
            HttpResponse::Ok().json(json!({ "events": rows }))
        }
        Err(_) => super::stopping(),
    }
}

/// The event after which is asked, 0 where none is named; `None` where it is no number.
fn after(query: &str) -> Option<u64> {
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs.find(|(name, _)| name == "after").map_or(Some(0), |(_, value)| value.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_after_which_is_asked() {
        for (query, number) in [("", Some(0)), ("after=7", Some(7)), ("x=1&after=8", Some(8)), ("after=x", None)] {
            assert_eq!(after(query), number, "{query}");
        }
    }
}
