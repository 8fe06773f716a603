//! Streams of each protocol: upstreams that speak it, clients that ask for it.

use super::app::{Setup, TRAFFIC, body};
use super::raw_client::{Answer, RawClient};
use super::upstream::{Protocol, Upstream};

/// The paths that stream, each in a format of its own.
pub(crate) const PATHS: [&str; 4] = ["/v1/messages", "/v1/chat/completions", "/v1/completions", "/v1/responses"];

/// The head of a stream, for scripts that write their own chunks.
pub(crate) const STREAM_HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// Two upstreams that serve a path, to be asked one after the other.
pub(crate) struct Pair {
    pub(crate) path: &'static str,
    pub(crate) a: Upstream,
    pub(crate) b: Upstream,
}

impl Pair {
    pub(crate) async fn serving(path: &'static str) -> Self {
        let make = async |name| match protocol(path) {
            Protocol::Anthropic => Upstream::anthropic(name).await,
            Protocol::OpenAi => Upstream::openai(name).await,
        };
        Self { path, a: make("a").await, b: make("b").await }
    }

    /// A gateway that asks `a`, then `b`, and isolates at the first failure.
    pub(crate) fn strict(&self) -> Setup {
        self.setup(Setup::new().isolated_by_one_failure().verified_on_demand())
    }

    /// A gateway that asks `a`, then `b`.
    pub(crate) fn setup(&self, setup: Setup) -> Setup {
        let lines = match protocol(self.path) {
            Protocol::Anthropic => "",
            Protocol::OpenAi => "protocol = \"openai\"\n",
        };
        let second = format!("{lines}queue = \"secondary\"\n");
        setup.endpoint("a", &self.a.base_url(), lines).endpoint("b", &self.b.base_url(), &second)
    }

    /// One streamed answer, to its end.
    pub(crate) async fn ask(&self, client: &mut RawClient) -> Answer {
        self.send(client, &[]).await;
        client.answer().await
    }

    pub(crate) async fn send(&self, client: &mut RawClient, headers: &[(&str, &str)]) {
        let headers: Vec<_> = [TRAFFIC].iter().chain(headers).copied().collect();
        client.send_request("POST", self.path, &headers, body(true).as_bytes()).await;
    }
}

fn protocol(path: &str) -> Protocol {
    if path == "/v1/messages" { Protocol::Anthropic } else { Protocol::OpenAi }
}

/// How many events of an answer open a stream: there may never be a second.
pub(crate) fn openings(answer: &Answer) -> usize {
    let opens = |data: &str| {
        data.contains("\"message_start\"")
            || data.contains("\"response.created\"")
            || data.contains("\"role\":\"assistant\",\"content\":\"\"")
            || data.contains("\"content\":\"\",\"role\":\"assistant\"")
    };
    answer.events().iter().filter(|event| opens(&event.data)).count()
}
