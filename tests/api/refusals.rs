//! What the gateway answers itself: honestly, in the path's protocol's shape, and never by a failed endpoint.

use serde_json::json;

use crate::support::app::{Setup, TRAFFIC, TestApp, body};
use crate::support::eventually::eventually;
use crate::support::raw_client::{Ended, RawClient};
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{Behaviour, hold, never_answer, raw, status, status_with};

#[actix_web::test]
async fn with_all_endpoints_out_the_answer_is_an_honest_refusal() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    for upstream in [&a, &b] {
        upstream.behave(Behaviour::always(status(500)));
    }
    let app = Setup::new().isolated_by_one_failure().primary(&a).secondary(&b).verified_on_demand().start().await;
    assert_eq!(app.message().await.status, 500);
    for _ in 0..50 {
        let refused = app.message().await;
        assert_eq!(refused.status, 503);
        assert_eq!((refused.header("retry-after"), refused.header("x-should-retry")), (Some("59"), None));
        let body = refused.json();
        assert_eq!((&body["type"], &body["error"]["type"]), (&json!("error"), &json!("api_error")));
        assert_eq!(body["request_id"].as_str(), refused.header("x-qcc-request-id"));
        assert!(refused.header("x-qcc-endpoint").is_none(), "no attempt was made");
    }
    assert_eq!((a.traffic(), b.traffic()), (1, 1), "never a failed endpoint");
    app.finish().await;
}

#[actix_web::test]
async fn where_only_the_operator_can_help_clients_are_told_not_to_try_again() {
    let a = Upstream::anthropic("a").await;
    a.behave(Behaviour::always(status(401)));
    let app = Setup::new().primary(&a).verified_on_demand().start().await;
    let first = app.message().await;
    assert_eq!((first.status, first.header("x-should-retry")), (502, Some("false")));
    let refused = app.message().await;
    assert_eq!(
        (refused.status, refused.header("x-should-retry"), refused.header("retry-after")),
        (503, Some("false"), None)
    );
    for answer in [first, refused] {
        let told = answer.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(told.contains("Trying again does not help; the gateway's operator must act."), "{told}");
    }
    app.finish().await;
}

#[actix_web::test]
async fn on_openai_paths_errors_have_that_protocols_shape() {
    let a = Upstream::openai("a").await;
    a.behave(Behaviour::always(status(401)));
    let app = Setup::new().endpoint("a", &a.base_url(), "protocol = \"openai\"").verified_on_demand().start().await;
    let mut client = app.client().await;
    client.post("/v1/chat/completions", &[TRAFFIC], body(false)).await;
    let refused = client.post("/v1/chat/completions", &[TRAFFIC], body(false)).await.json();
    assert_eq!(
        (&refused["error"]["type"], &refused["error"]["code"]),
        (&json!("server_error"), &json!("no_usable_endpoint"))
    );
    assert_eq!(refused["error"]["param"], json!(null));
    app.finish().await;
}

#[actix_web::test]
async fn what_is_not_served_is_not_found() {
    let a = Upstream::anthropic("a").await;
    let app = Setup::new()
        .endpoint("a", &a.base_url(), "models = [\"claude-*\"]")
        .section("clients.x", "key = \"k\"")
        .start()
        .await;
    let key = ("x-api-key", "k");
    let mut client = app.client().await;
    let gpt = json!({ "model": "gpt-4o" }).to_string();
    for (path, body, said) in [
        ("/v1/messages", gpt.as_str(), "gpt-4o"),
        ("/v1/chat/completions", gpt.as_str(), "serves this path"),
        ("/v1/nothing", "{}", "server.other_paths"),
        ("/chat/completions?a=b", "{}", "serves /v1/chat/completions, not this path"),
    ] {
        let answer = client.post(path, &[TRAFFIC, key], body).await;
        assert_eq!((answer.status, answer.json()["error"]["type"].as_str()), (404, Some("not_found_error")), "{path}");
        assert!(answer.json()["error"]["message"].as_str().unwrap().contains(said), "{}", answer.text());
        client = app.client().await;
    }
    assert_eq!(client.get("/v1/messages", &[TRAFFIC, key]).await.status, 405);
    assert_eq!(a.total(), 0);
    app.finish().await;
}

#[actix_web::test]
async fn a_body_beyond_the_bound_is_refused_announced_or_not() {
    let a = Upstream::anthropic("a").await;
    let server = "host = \"127.0.0.1\"\nport = 0\nworkers = 1\nmax_body = \"1KiB\"";
    let app = Setup::only().section("server", server).primary(&a).start().await;
    let large = "x".repeat(2000);
    let announced = app.client().await.post("/v1/messages", &[TRAFFIC], &large).await;
    assert_eq!((announced.status, announced.json()["error"]["type"].as_str()), (413, Some("request_too_large")));
    let mut client = app.client().await;
    client.send(b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n").await;
    let chunk = format!("{:x}\r\n{large}\r\n", large.len());
    client.send(chunk.as_bytes()).await;
    assert_eq!(client.answer().await.status, 413);
    assert_eq!(a.total(), 0);
    app.finish().await;
}

#[actix_web::test]
async fn a_body_that_does_not_come_is_refused() {
    let a = Upstream::anthropic("a").await;
    let server = "host = \"127.0.0.1\"\nport = 0\nworkers = 1\nbody_timeout = \"100ms\"";
    let app = Setup::only().section("server", server).primary(&a).start().await;
    let mut client = app.client().await;
    client.send(b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{").await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.json()["error"]["type"].as_str()), (408, Some("timeout_error")));
    app.finish().await;
}

#[actix_web::test]
async fn what_all_requests_hold_together_is_bounded() {
    let a = Upstream::anthropic("a").await;
    a.behave(Behaviour::always(never_answer()));
    let server = "host = \"127.0.0.1\"\nport = 0\nworkers = 1\nmax_buffered = \"3KiB\"";
    let app = Setup::only().section("server", server).primary(&a).start().await;
    let body = "x".repeat(2000);
    let mut holding = app.client().await;
    holding.send_request("POST", "/v1/messages", &[TRAFFIC], body.as_bytes()).await;
    a.received(1).await;
    let refused = app.client().await.post("/v1/messages", &[TRAFFIC], &body).await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    drop(holding);
    app.finish().await;
}

async fn buffered(app: &TestApp) -> u64 {
    let metrics = app.client().await.get("/__qcc__/metrics", &[]).await.text();
    metrics.lines().find_map(|line| line.strip_prefix("qcc_buffered_bytes ")).unwrap().parse().unwrap()
}

/// Found by a reader: many answers that stall before their end took memory without bound.
#[actix_web::test]
async fn answers_that_wait_for_their_end_count_as_held_and_beyond_the_bound_one_is_passed_on_as_it_comes() {
    let a = Upstream::anthropic("a").await;
    let whole = format!(r#"{{"type":"message","content":"{}"}}"#, "x".repeat(2 << 20));
    let (begun, rest) = whole.split_at(1 << 20);
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", whole.len());
    let stalls = raw(format!("{head}{begun}")).then(hold("rest")).then(raw(rest.to_owned()));
    a.script_traffic([stalls.clone(), stalls.clone(), stalls]);
    let server = "host = \"127.0.0.1\"\nport = 0\nworkers = 1\nmax_buffered = \"2560KiB\"";
    let app = Setup::only().section("server", server).primary(&a).start().await;
    let mut clients = Vec::new();
    for held in 1..=2 {
        let mut client = app.client().await;
        client.send_request("POST", "/v1/messages", &[TRAFFIC], body(false).as_bytes()).await;
        clients.push(client);
        eventually("what has come to be counted", async || buffered(&app).await >= held << 20).await;
    }
    let mut beyond = app.client().await;
    beyond.send_request("POST", "/v1/messages", &[TRAFFIC], body(false).as_bytes()).await;
    assert_eq!(beyond.answer_head().await.status, 200, "before its end has come");
    let mut come = 0;
    while come < begun.len() {
        come += beyond.piece().await.unwrap().len();
    }
    assert!(buffered(&app).await < 5 << 19, "what has gone out is given back");
    a.gates().open("rest");
    let last = beyond.rest().await;
    assert_eq!((last.ended, come + last.body.len()), (Ended::Whole, whole.len()));
    for client in &mut clients {
        let answer = client.answer().await;
        assert!(answer.ended == Ended::Whole && answer.body == whole.as_bytes());
    }
    eventually("all to be given back", async || buffered(&app).await == 0).await;
    app.finish().await;
}

/// Once wrong: it counted no longer as soon as it was there, however long its client took.
#[actix_web::test]
async fn an_answer_that_its_client_does_not_take_counts_as_held_until_it_has_gone_out() {
    // As events these are nearly twice as much, and more than what a socket takes.
    let block = json!({"type": "text", "text": "x".repeat(350)});
    let content = vec![block; 10_000];
    let whole = json!({"type": "message", "role": "assistant", "content": content, "stop_reason": "end_turn"});
    let a = Upstream::anthropic("a").await;
    a.script_traffic([status_with(200, &[("content-type", "application/json")], whole.to_string())]);
    let app = Setup::new().primary(&a).start().await;
    let mut client = RawClient::connect_narrow(app.address()).await;
    client.send_request("POST", "/v1/messages", &[TRAFFIC], body(true).as_bytes()).await;
    assert_eq!(client.answer_head().await.status, 200);
    let held = buffered(&app).await;
    assert!(held > 6 << 20, "{held}");
    assert_eq!(client.rest().await.ended, Ended::Whole);
    eventually("all to be given back", async || buffered(&app).await == 0).await;
    app.finish().await;
}

#[actix_web::test]
async fn an_upgrade_is_not_implemented() {
    let a = Upstream::anthropic("a").await;
    let app = Setup::new().primary(&a).start().await;
    for (path, is_openais) in
        [("/v1/models", false), ("/v1/messages", false), ("/v1/responses", true), ("/v1/v1/responses", true)]
    {
        let upgrade = [TRAFFIC, ("connection", "upgrade"), ("upgrade", "websocket")];
        let answer = app.client().await.get(path, &upgrade).await;
        assert_eq!((answer.status, answer.json()["error"]["type"].as_str()), (501, Some("invalid_request_error")));
        assert_eq!(answer.json().get("type").is_none(), is_openais, "{path}: in the path's protocol's shape");
        let looked_for = if is_openais { "x-request-id" } else { "request-id" };
        assert_eq!(answer.header(looked_for), answer.header("x-qcc-request-id"), "{path}: where its SDKs look for it");
    }
    app.finish().await;
}

#[actix_web::test]
async fn a_profile_of_no_endpoint_serves_nothing_and_trying_again_does_not_help() {
    let a = Upstream::anthropic("a").await;
    let app = Setup::new().endpoint("a", &a.base_url(), "profiles = [\"other\"]").start().await;
    let refused = app.message().await;
    assert_eq!((refused.status, refused.header("retry-after")), (404, None));
    assert_eq!(refused.json()["error"]["type"], "not_found_error");
    assert!(refused.text().contains("Trying again does not help"), "{}", refused.text());
    let count = app.client().await.post("/v1/messages/count_tokens", &[TRAFFIC], body(false)).await;
    assert_eq!(count.status, 404, "no estimate hides the mistake");
    app.finish().await;
}

#[actix_web::test]
async fn the_operators_help_stands_in_every_message() {
    let a = Upstream::anthropic("a").await;
    let server = "host = \"127.0.0.1\"\nport = 0\nworkers = 1\nhelp = \"Ask in #llm.\"";
    let app = Setup::only().section("server", server).primary(&a).start().await;
    let answer = app.client().await.post("/v1/nothing", &[TRAFFIC], "{}").await;
    assert!(answer.json()["error"]["message"].as_str().unwrap().ends_with("Ask in #llm."));
    app.finish().await;
}

#[actix_web::test]
async fn with_every_endpoint_switched_off_nobody_is_told_to_try_again() {
    let a = Upstream::anthropic("a").await;
    let app = Setup::new().primary(&a).start().await;
    app.admin("a", "disable").await;
    let refused = app.message().await;
    assert_eq!(
        (refused.status, refused.header("x-should-retry"), refused.header("retry-after")),
        (503, Some("false"), None)
    );
    assert!(refused.json()["error"]["message"].as_str().unwrap().contains("switched off"));
    app.finish().await;
}

/// Found with a slow upload: the deadline runs from the end of the body.
#[actix_web::test]
async fn a_slow_upload_does_not_use_up_the_deadline() {
    let a = Upstream::anthropic("a").await;
    let app = Setup::new().section("retry", "deadline = \"150ms\"").primary(&a).start().await;
    let mut client = app.client().await;
    client.send(b"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-traffic: 1\r\ncontent-length: 2\r\n\r\n{").await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    client.send(b"}").await;
    assert_eq!(client.answer().await.status, 200);
    app.finish().await;
}

#[actix_web::test]
async fn a_body_that_is_chunked_wrongly_is_the_clients_fault() {
    let a = Upstream::anthropic("a").await;
    let app = Setup::new().primary(&a).start().await;
    let mut client = app.client().await;
    client.send(b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n").await;
    assert_eq!(client.answer().await.status, 400);
    assert_eq!(a.total(), 0);
    app.finish().await;
}
