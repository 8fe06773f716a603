//! What people say: a marked word is looked for in everything that the gateway tells of itself.

use serde_json::json;

use crate::process::{Process, Settings};
use crate::support::app::TRAFFIC;
use crate::support::raw_client::RawClient;
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{error, html, says, sse};

/// The word that only people and models say.
const MARK: &str = "kingfisher";

#[actix_web::test]
async fn what_people_say_is_in_no_log_line_and_on_no_route() {
    let (upstream, spare) = (Upstream::anthropic("main").await, Upstream::anthropic("spare").await);
    let words = format!("no model can answer: {MARK}");
    upstream.script_traffic([
        says(MARK),
        sse(2).bytes(format!("event: x\ndata: {MARK}\n\n")).then_end(),
        sse(2).bytes(format!("event: x\ndata: {MARK}\n\n")).then_cut(),
        error(400, "invalid_request_error", &words),
        html(),
        error(500, "api_error", &words),
        error(500, "api_error", &words),
    ]);
    let text = format!(
        "[server]\nport = 0\nworkers = 1\n[log]\nlevel = \"trace\"\n\
         [endpoints.main]\nbase_url = \"{}\"\napi_key = \"k\"\n\
         [endpoints.spare]\nbase_url = \"{}\"\napi_key = \"k\"\nqueue = \"secondary\"\n",
        upstream.base_url(),
        spare.base_url()
    );
    let mut gateway = Process::start(Settings::new(&text)).await;
    let address = gateway.address;
    let (answers, told) = gateway
        .while_read(async {
            let (mut answers, mut told) = (Vec::new(), Vec::new());
            for stream in [false, true, true, false, false, false, false] {
                let body = json!({
                    "model": "claude-haiku-4-5", "max_tokens": 64, "stream": stream, "system": MARK,
                    "messages": [{ "role": "user", "content": MARK }], "metadata": { "note": MARK },
                });
                let mut client = RawClient::connect(address).await;
                answers.push(client.post("/v1/messages", &[TRAFFIC], body.to_string()).await.text());
            }
            for path in ["/", "/stats", "/events", "/health/ready"] {
                told.push(RawClient::connect(address).await.get(&format!("/__qcc__{path}"), &[]).await.text());
            }
            (answers, told)
        })
        .await;
    gateway.signal("TERM").await;
    let (_, log) = gateway.ended().await;
    assert!(
        log.iter().any(|line| line.contains("endpoint main isolated")),
        "the last failure is told with its words or without"
    );
    assert!(answers.iter().any(|answer| answer.contains(MARK)), "it did pass through");
    assert!(log.len() > 20 && log.iter().any(|line| line.contains("TRACE")), "it did log at trace");
    for line in log.iter().chain(&told) {
        assert!(!line.contains(MARK), "{line}");
    }
}
