//! Sends traces to a collector.

use std::time::Duration;

use actix_web::http::Method;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue, USER_AGENT};
use bytes::Bytes;

use super::client::{AGENT, Client, Request};
use super::fetch::FetchError;
use super::lines::HeaderLines;
use super::request::insert_basic;
use crate::domain::tracing::Collector;

/// How long a collector may take for a batch.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The longest answer that is read, in bytes.
const LONGEST_ANSWER: usize = 64 << 10;

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// The collector has it.
    Yes,
    /// It may take it later.
    NotNow(String),
    /// It never will.
    Never(String),
}

/// Posts batches, by a client of its own.
#[derive(Clone, Debug)]
pub struct Exporter {
    client: Client,
    collector: Collector,
}

impl Exporter {
    /// An exporter with a client of its own, so that it shares no connection with traffic.
    pub fn new(client: Client, collector: Collector) -> Self {
        Self { client, collector }
    }

    /// The collector that it posts to.
    pub fn collector(&self) -> &Collector {
        &self.collector
    }

    /// Posts a batch in OTLP's JSON form.
    pub async fn post(&self, body: Vec<u8>) -> Taken {
        let mut headers = HeaderLines::default();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        if let Some(userinfo) = self.collector.userinfo() {
            insert_basic(&mut headers, userinfo);
        }
        let request = Request {
            origin: self.collector.origin(),
            method: Method::POST,
            target: self.collector.target().into(),
            headers,
            body: Bytes::from(body).into(),
            // A span that comes twice is the same span.
            resend_stale: true,
        };
        match self.client.fetch(request, LONGEST_ANSWER, TIMEOUT).await {
            Ok(answer) if answer.status.is_success() => Taken::Yes,
            Ok(answer) => {
                let status = answer.status.as_u16();
                let told = format!("HTTP {status}");
                // The statuses that OTLP calls retryable.
                if matches!(status, 429 | 502 | 503 | 504) { Taken::NotNow(told) } else { Taken::Never(told) }
            }
            // It has answered, however long its text.
            Err(FetchError::TooLong(_)) => Taken::Yes,
            Err(error @ (FetchError::Send(_) | FetchError::Body(_) | FetchError::TimedOut(_))) => {
                Taken::NotNow(error.to_string())
            }
        }
    }
}
