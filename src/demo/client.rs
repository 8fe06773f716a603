//! The demonstration's client: a few connections that ask the gateway all the time, plain and streamed, and check every
//! answer closely.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use awc::http::header::{HeaderName, HeaderValue, USER_AGENT};
use futures_util::StreamExt;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::answer::sentence;
use super::upstream::ROLES;

/// The model that the client asks for.
pub(super) const MODEL: &str = "claude-demo";
/// The key that the gateway knows its client by. It is no secret: it protects nothing.
pub(super) const KEY: &str = "demo-client-key";
/// How many connections ask at a time.
pub(super) const CONNECTIONS: usize = 16;
/// The time from the first request of one connection to that of the next.
const RAMP: Duration = Duration::from_millis(100);
/// How long one whole exchange may take, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a connection waits after an error before it asks again.
const AFTER_ERROR: Duration = Duration::from_millis(100);
/// How many errors are kept to be shown.
const SHOWN_ERRORS: usize = 3;
const AGENT: HeaderValue = HeaderValue::from_static("qcc-demo-client");
const CLIENT_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// An HTTP client without TLS, which never leaves the machine.
pub(super) fn plain_client() -> awc::Client {
    awc::Client::builder().connector(awc::Connector::new()).timeout(PATIENCE).disable_redirects().finish()
}

/// What the client has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Whole answers as one message.
    pub(super) plain: u64,
    /// Whole answers as streams.
    pub(super) streamed: u64,
    /// Anything else.
    pub(super) errors: u64,
    /// The first errors, in words.
    pub(super) first_errors: Vec<String>,
}

/// The running traffic, which its starter can end.
#[derive(Clone, Debug, Default)]
pub(super) struct Traffic {
    over: Rc<Cell<bool>>,
    tally: Rc<RefCell<Tally>>,
}

impl Traffic {
    /// Asks until [`Self::end`], on all connections; each finishes what it has begun.
    pub(super) async fn run(&self, client: &awc::Client, base: &str) {
        let url = format!("{base}/v1/messages");
        let delays = std::iter::successors(Some(Duration::ZERO), |delay| Some(*delay + RAMP));
        let connections = delays.take(CONNECTIONS).enumerate();
        join_all(connections.map(|(number, delay)| self.connection(client, &url, number, delay))).await;
    }

    /// Ends the traffic: no further request is begun.
    pub(super) fn end(&self) {
        self.over.set(true);
    }

    /// What was seen so far.
    pub(super) fn tally(&self) -> Tally {
        self.tally.borrow().clone()
    }

    async fn connection(&self, client: &awc::Client, url: &str, number: usize, delay: Duration) {
        tokio::time::sleep(delay).await;
        let mut streamed = number % 2 == 1;
        while !self.over.get() {
            let result = match tokio::time::timeout(PATIENCE, ask(client, url, streamed)).await {
                Ok(result) => result,
                Err(_) => Err(format!("no whole answer within {} s", PATIENCE.as_secs())),
            };
            let has_failed = result.is_err();
            self.note(streamed, result);
            if has_failed {
                tokio::time::sleep(AFTER_ERROR).await;
            }
            streamed = !streamed;
        }
    }

    fn note(&self, streamed: bool, result: Result<(), String>) {
        let mut tally = self.tally.borrow_mut();
        match result {
            Ok(()) if streamed => tally.streamed += 1,
            Ok(()) => tally.plain += 1,
            Err(error) => {
                tally.errors += 1;
                if tally.first_errors.len() < SHOWN_ERRORS {
                    tally.first_errors.push(error);
                }
            }
        }
    }
}

/// One exchange. Only a whole answer of one of the upstreams is a success.
async fn ask(client: &awc::Client, url: &str, streamed: bool) -> Result<(), String> {
    let question = json!({
        "model": MODEL,
        "max_tokens": 64,
        "stream": streamed,
        "messages": [{"role": "user", "content": "Who are you?"}],
    });
    let request = client.post(url).insert_header((USER_AGENT, AGENT)).insert_header((CLIENT_KEY, KEY));
    let mut answer = request.send_json(&question).await.map_err(|error| format!("no answer: {error}"))?;
    let mut body = Vec::new();
    while let Some(piece) = answer.next().await {
        body.extend_from_slice(&piece.map_err(|error| format!("the answer broke off: {error}"))?);
    }
    let body = String::from_utf8_lossy(&body);
    if !answer.status().is_success() {
        return Err(format!("HTTP {}: {body}", answer.status().as_u16()));
    }
    let text = if streamed { text_of_stream(&body) } else { text_of_message(&body) };
    match text {
        Some(text) if ROLES.iter().any(|role| text == sentence(role.name)) => Ok(()),
        Some(_) | None => Err(format!("HTTP 200 with an answer that is not whole: {body}")),
    }
}

fn text_of_message(body: &str) -> Option<String> {
    let message: Value = serde_json::from_str(body).ok()?;
    Some(message.get("content")?.get(0)?.get("text")?.as_str()?.to_owned())
}

/// The text of a stream that is closed by its last event; `None` for any other.
fn text_of_stream(body: &str) -> Option<String> {
    let data: Vec<Value> = body
        .split("\n\n")
        .flat_map(str::lines)
        .filter_map(|line| serde_json::from_str(line.strip_prefix("data:")?).ok())
        .collect();
    let kind = |event: &Value| Some(event.get("type")?.as_str()?.to_owned());
    if kind(data.last()?)? != "message_stop" {
        return None;
    }
    Some(data.iter().filter_map(|event| event.get("delta")?.get("text")?.as_str()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELTA: &str =
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"ab\"}}\n\n";
    const STOP: &str = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

    #[test]
    fn a_stream_without_its_last_event_is_not_whole() {
        assert_eq!(text_of_stream(&format!("{DELTA}{DELTA}{STOP}")).as_deref(), Some("abab"));
        assert_eq!(text_of_stream(&format!("{DELTA}{DELTA}")), None);
        assert_eq!(text_of_stream(&format!("{DELTA}event: error\ndata: {{\"type\":\"error\"}}\n\n")), None);
        assert_eq!(text_of_stream(""), None);
    }

    #[test]
    fn a_message_without_text_is_not_whole() {
        assert_eq!(text_of_message(r#"{"content":[{"type":"text","text":"ab"}]}"#).as_deref(), Some("ab"));
        for body in ["", "{}", r#"{"content":[]}"#, r#"{"content":[{"type":"text"}]}"#] {
            assert_eq!(text_of_message(body), None, "{body}");
        }
    }
}
