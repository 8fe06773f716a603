//! The gateway as anybody sees it from outside: its stats and events, through its own routes.

use std::time::SystemTime;

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The gateway's own routes gave no usable answer.
#[derive(Debug, thiserror::Error)]
#[error("the gateway's route {url} can't be read: {fault}")]
pub struct Unobservable {
    url: String,
    fault: String,
}

/// A queue move or a verification, as the gateway tells it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Event {
    seq: u64,
    at: String,
    /// Its kind, by the name that the route gives it.
    pub(super) kind: String,
    /// The endpoint concerned.
    pub(super) endpoint: Option<String>,
    /// The reason.
    pub(super) reason: Option<String>,
    /// What was seen.
    pub(super) detail: Option<String>,
    /// How long a verification took, in milliseconds.
    pub(super) ms: Option<u64>,
    /// A verification's score.
    pub(super) score: Option<u8>,
}

impl Event {
    /// When it happened, to the millisecond; `None` if the gateway writes times in another form than it promises.
    pub(super) fn time(&self) -> Option<SystemTime> {
        humantime::parse_rfc3339(&self.at).ok()
    }
}

#[derive(Debug, Deserialize)]
struct Events {
    events: Vec<Event>,
}

/// An endpoint's row in the stats, as far as it is used.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Row {
    /// Which endpoint.
    pub(super) id: String,
    /// Its standing.
    pub(super) standing: String,
    /// Its breaker's state.
    pub(super) breaker: String,
    /// Its attempts under way.
    pub(super) in_flight: u32,
}

/// The stats, as far as they are used.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Stats {
    /// Attempts that were sent to an isolated endpoint.
    pub(super) leaks: u64,
    /// All endpoints.
    pub(super) endpoints: Vec<Row>,
}

impl Stats {
    /// The row of this endpoint.
    pub(super) fn row(&self, id: &str) -> Option<&Row> {
        self.endpoints.iter().find(|row| row.id == id)
    }
}

/// Reads the gateway's own routes, each event once.
#[derive(Clone)]
pub(super) struct Observer {
    client: awc::Client,
    base: String,
    seen: u64,
}

impl Observer {
    /// An observer of the gateway at this URL.
    pub(super) fn new(client: awc::Client, base: String) -> Self {
        Self { client, base, seen: 0 }
    }

    /// The stats now.
    pub(super) async fn stats(&self) -> Result<Stats, Unobservable> {
        self.read("/__qcc__/stats".to_owned()).await
    }

    /// The events since the last time.
    pub(super) async fn new_events(&mut self) -> Result<Vec<Event>, Unobservable> {
        let Events { events } = self.read(format!("/__qcc__/events?after={}", self.seen)).await?;
        self.seen = events.last().map_or(self.seen, |latest| latest.seq);
        Ok(events)
    }

    async fn read<T: DeserializeOwned>(&self, path: String) -> Result<T, Unobservable> {
        let url = format!("{}{path}", self.base);
        let failed = |fault: String| Unobservable { url: url.clone(), fault };
        let mut answer = self.client.get(&url).send().await.map_err(|error| failed(error.to_string()))?;
        let body = answer.body().await.map_err(|error| failed(error.to_string()))?;
        if !answer.status().is_success() {
            return Err(failed(format!("HTTP {}: {}", answer.status().as_u16(), String::from_utf8_lossy(&body))));
        }
        serde_json::from_slice(&body).map_err(|error| failed(error.to_string()))
    }
}
