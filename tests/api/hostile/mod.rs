//! Input that is meant to hurt, from clients and from upstreams. Each gets a clear answer or a closed connection, the
//! gateway's memory stays bounded, and what others ask for is answered meanwhile.
//!
//! Where HTTP alone is at stake, `conformance/` and `connections.rs` hold it; here it is about amounts, and about what is
//! hidden in what is well-formed.

mod bodies;
mod bombs;
mod crowd;
mod heads;
mod injection;
mod json;
mod limits;
mod nothing;
mod paths;
mod unread;
mod upstreams;

use std::fmt::Write;

use serde_json::json;

use crate::backpressure::{most_resident, resident};
use crate::support::app::{TRAFFIC, body};
use crate::support::process::{Process, Settings};
use crate::support::raw_client::{Answer, RawClient};
use crate::support::upstream::Upstream;
use crate::support::upstream::step::Step;

/// By how much an attack may make the gateway grow. Far less than what each of them sends, or would unfold to.
const GROWTH: usize = 64 << 20;

/// A request that the hostile upstream answers in its own way.
fn attack(stream: bool) -> String {
    json!({
        "model": "claude-haiku-4-5", "max_tokens": 64, "stream": stream,
        "messages": [{ "role": "user", "content": "attack" }],
    })
    .to_string()
}

/// A gateway in a process of its own, whose memory is looked at; before it an upstream that is hostile to some requests and
/// honest to all others, and one that is honest and serves where the first one fails.
struct Scene {
    hostile: Upstream,
    _spare: Upstream,
    gateway: Process,
    before: usize,
}

impl Scene {
    /// With further lines for the settings' `[server]`, and tables behind them. No failure isolates anybody.
    async fn set(more: &str) -> Self {
        let (hostile, spare) = (Upstream::anthropic("hostile").await, Upstream::anthropic("spare").await);
        let mut text = format!(
            "[server]\nport = 0\nworkers = 1\n{more}\n[breaker]\nfailure_threshold = 1000\nmin_requests = 1000\n\
             [retry]\nbackoff = \"1ms\"\n"
        );
        for (upstream, queue) in [(&hostile, "primary"), (&spare, "secondary")] {
            let (name, url) = (upstream.name(), upstream.base_url());
            write!(text, "[endpoints.{name}]\nbase_url = \"{url}\"\napi_key = \"k\"\nqueue = \"{queue}\"\n").unwrap();
        }
        let gateway = Process::start(Settings::new(&text)).await;
        let before = resident(gateway.child.id().unwrap());
        Self { hostile, _spare: spare, gateway, before }
    }

    async fn client(&self) -> RawClient {
        RawClient::connect(self.gateway.address).await
    }

    /// From now on attacks are answered by this.
    fn attacked_by(&self, step: Step) {
        self.hostile.mend();
        self.hostile.answers_to("attack", step);
    }

    /// Sends an attack's request; its answer is still to be read.
    async fn ask(&self, stream: bool) -> RawClient {
        let mut client = self.client().await;
        client.send_request("POST", "/v1/messages", &[TRAFFIC], attack(stream).as_bytes()).await;
        client
    }

    /// The whole answer to an attack's request.
    async fn answer(&self, stream: bool) -> Answer {
        self.ask(stream).await.answer().await
    }

    /// What others ask for is answered.
    async fn others_go_on(&self) {
        let answer = self.client().await.post("/v1/messages", &[TRAFFIC], body(false)).await;
        assert_eq!((answer.status, answer.header("x-qcc-endpoint")), (200, Some("hostile")), "{}", answer.text());
        assert_eq!(self.client().await.get("/__qcc__/health/live", &[]).await.status, 200);
    }

    /// By how much the gateway has grown at most, in bytes.
    fn growth(&self) -> usize {
        most_resident(self.gateway.child.id().unwrap()).saturating_sub(self.before)
    }

    /// The gateway has not grown beyond the bound.
    #[track_caller]
    fn assert_bounded(&self, what: &str) {
        let growth = self.growth();
        assert!(growth < GROWTH, "{what}: the gateway grew by {growth} bytes");
    }
}

/// Reads so many bytes of an answer's body, or less if it ends before.
async fn read_some(client: &mut RawClient, wanted: usize) -> usize {
    let mut read = 0;
    while read < wanted {
        match client.piece().await {
            Ok(piece) => read += piece.len(),
            Err(_) => break,
        }
    }
    read
}
