//! What people say: a marked word is looked for in everything that the gateway tells of itself.

use std::fmt::Write;

use serde_json::json;

use crate::support::app::TRAFFIC;
use crate::support::process::{Process, Settings};
use crate::support::raw_client::RawClient;
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{Behaviour, echo, error, html, says, sse, status_with};

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
            for path in ["/", "/stats", "/events", "/logs?lines=2000", "/health/ready"] {
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

/// Of what goes wrong the status and type are kept, and not a word more: of a prompt, an answer, a header, a page, an event, nor
/// of what an upstream says to a test conversation.
#[actix_web::test]
async fn whatever_goes_wrong_no_word_of_it_is_in_a_log_line_or_on_a_route() {
    let (main, spare) = (Upstream::anthropic("main").await, Upstream::anthropic("spare").await);
    let mut text = String::from(
        "[server]\nport = 0\nworkers = 1\n[log]\nlevel = \"trace\"\n[breaker]\nfailure_threshold = 1\n\
         [verifier]\ninitial_delay = \"10ms\"\ninterval = \"10ms\"\njitter = 0.0\n[retry]\npark = \"5s\"\n",
    );
    for (upstream, queue) in [(&main, "primary"), (&spare, "secondary")] {
        let (name, url) = (upstream.name(), upstream.base_url());
        write!(text, "[endpoints.{name}]\nbase_url = \"{url}\"\napi_key = \"k\"\nqueue = \"{queue}\"\n").unwrap();
    }
    let headers = [("content-type", "application/json"), ("x-said", MARK)];
    let event = format!("event: error\ndata: {{\"error\":{{\"type\":\"api_error\",\"message\":\"{MARK}\"}}}}\n\n");
    let steps = [
        echo(),
        sse(2).bytes(format!("event: x\ndata: {{\"delta\":\"{MARK}\"}}\n\n")).then_cut(),
        sse(0).bytes(event.clone()).then_cut(),
        sse(2).bytes(event).then_cut(),
        sse(2).bytes(format!("data: {MARK}")).then_reset(),
        error(400, "invalid_request_error", MARK),
        error(500, "api_error", &format!("{MARK}\nERROR")),
        error(500, &format!("a sentence of {MARK}"), MARK),
        error(529, "overloaded_error", MARK),
        status_with(200, &headers, format!("<html>{MARK}")),
        status_with(404, &headers, MARK),
        status_with(301, &[("location", MARK)], MARK),
    ];
    for upstream in [&main, &spare] {
        upstream.script_traffic(steps.clone());
        let failed = error(500, "api_error", MARK);
        upstream.behave(Behaviour::honest().verifications(failed));
    }
    let mut gateway = Process::start(Settings::new(&text)).await;
    let address = gateway.address;
    let told = gateway
        .while_read(async {
            let mut told = Vec::new();
            for number in 0..2 * steps.len() {
                let message = json!({
                    "model": "claude-haiku-4-5", "stream": (1..5).contains(&number), "system": MARK,
                    "messages": [{ "role": "user", "content": MARK }],
                    "metadata": { "user_id": MARK }, "tools": [{ "name": MARK }],
                });
                let asked = format!("/v1/messages?q={MARK}");
                let path = if number % 5 == 4 { "/v1/messages/count_tokens" } else { &*asked };
                let mut client = RawClient::connect(address).await;
                client.post(path, &[TRAFFIC, ("x-word", MARK)], message.to_string()).await;
                // The routes tell what they know of it.
                for id in ["main", "spare"] {
                    for act in ["verify", "disable", "enable"] {
                        let mut client = RawClient::connect(address).await;
                        told.push(client.post(&format!("/__qcc__/endpoints/{id}/{act}"), &[], "").await.text());
                    }
                }
                if number % 3 == 0 {
                    main.behave(Behaviour::honest());
                    spare.behave(Behaviour::honest());
                }
            }
            for path in ["stats", "events"] {
                told.push(RawClient::connect(address).await.get(&format!("/__qcc__/{path}"), &[]).await.text());
            }
            told
        })
        .await;
    assert!(main.traffic() + spare.traffic() > 20, "{} {}", main.traffic(), spare.traffic());
    gateway.signal("TERM").await;
    let (_, log) = gateway.ended().await;
    assert!(log.iter().any(|line| line.contains("TRACE")) && log.iter().any(|line| line.contains("isolated reason=")));
    for text in log.iter().chain(&told) {
        assert!(!text.contains(MARK), "{text}");
    }
}
