//! What an upstream remembers of a request.

use std::time::Instant;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::watch;

use crate::support::eventually::within;
use crate::support::wire::Headers;

/// How far the exchange of a request and its answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exchange {
    /// The answer is not yet sent to its end, or never will be.
    Answering,
    /// The script of the answer came to its end with the peer still there.
    Answered,
    /// The peer closed its side, or reset the connection, before the answer was sent to its end.
    Left,
    /// The upstream went down or was dropped before the answer was sent to its end.
    Broken,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) method: String,
    /// Path and query, to the byte.
    pub(crate) target: String,
    /// In order, with their case.
    pub(crate) headers: Headers,
    /// Empty where the script answered without waiting for it.
    pub(crate) body: Bytes,
    /// Whether the body came in chunks.
    pub(crate) chunked: bool,
    /// Which of the upstream's connections it came on, counted from 0.
    pub(crate) connection: usize,
    /// Its place in the order of arrival, counted from 0.
    pub(crate) number: usize,
    /// When it had come.
    pub(crate) came: Instant,
    pub(super) exchange: watch::Receiver<Exchange>,
}

impl Recorded {
    /// The first value of a header, in any case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    /// The body as JSON; null where it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// How far the answer has come by now.
    pub(crate) fn exchange(&self) -> Exchange {
        *self.exchange.borrow()
    }

    /// Waits until the peer leaves this request's connection before the answer is sent to its end. Fails the test if
    /// the answer ends in any other way.
    pub(crate) async fn closed_by_peer(&self) {
        assert_eq!(self.over().await, Exchange::Left, "request {} to {} ended otherwise", self.number, self.target);
    }

    /// Waits until the exchange is over, and says how it ended.
    pub(crate) async fn over(&self) -> Exchange {
        let mut exchange = self.exchange.clone();
        let what = format!("the end of the answer to request {} to {}", self.number, self.target);
        let over = exchange.wait_for(|exchange| *exchange != Exchange::Answering);
        match within(&what, over).await {
            Ok(exchange) => *exchange,
            Err(_) => Exchange::Broken,
        }
    }

    /// The keys that came with the request, as `x-api-key` and as bearer tokens.
    pub(crate) fn keys(&self) -> Vec<&str> {
        let bearers = self.headers.all("authorization").into_iter().filter_map(|value| value.strip_prefix("Bearer "));
        self.headers.all("x-api-key").into_iter().chain(bearers).collect()
    }
}

/// The upstream's side of an [`Exchange`]: whoever drops it unsettled has broken it off.
pub(super) struct Settling(pub(super) watch::Sender<Exchange>);

impl Settling {
    pub(super) fn settle(&self, end: Exchange) {
        self.0.send_replace(end);
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        if *self.0.borrow() == Exchange::Answering {
            self.settle(Exchange::Broken);
        }
    }
}
