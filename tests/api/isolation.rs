//! A primary that fails: out by its first or third failure, without an error seen by a client, and out it stays.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::app::{Setup, TRAFFIC, TestApp, body, message};
use crate::support::eventually::eventually;
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{Behaviour, Step, html, ok, reset, status, status_with};

/// Sends messages one after the other until the endpoint is isolated; no client sees an error.
async fn send_until_isolated(app: &TestApp, id: &str) {
    let mut client = app.client().await;
    for number in 0..20 {
        let answer = message(&mut client, number).await;
        assert_eq!((answer.status, answer.header("x-qcc-endpoint")), (200, Some("good")), "{}", answer.text());
        if app.row(id).await["standing"] == "failure" {
            return;
        }
    }
    panic!("{id} is still in use");
}

/// A fault that everything sent to an endpoint meets: it is out after `attempts` of them, and then gets no request in
/// 500, while an old-style breaker would have gone half-open again and again.
async fn check_filtered(fault: Step, reason: &str, last_error: &str, attempts: usize) {
    let (bad, good) = (Upstream::anthropic("bad").await, Upstream::anthropic("good").await);
    bad.behave(Behaviour::always(fault));
    let app = Setup::new().primary(&bad).primary(&good).verified_every(20).start().await;

    send_until_isolated(&app, "bad").await;
    assert_eq!(bad.traffic(), attempts);

    let mut client = app.client().await;
    for number in 0..500 {
        let answer = message(&mut client, number).await;
        assert_eq!((answer.status, answer.header("x-qcc-endpoint")), (200, Some("good")));
    }
    eventually("many verifications", async || bad.verifications() >= 5).await;
    assert_eq!(bad.traffic(), attempts, "an isolated endpoint gets verifications only");

    let row = app.row("bad").await;
    assert_eq!(row["standing"], "failure");
    assert_eq!(
        (&row["status"], &row["in_use"], &row["isolated_reason"]),
        (&json!("unhealthy"), &json!(false), &json!(reason))
    );
    assert_eq!(row["last_error"], last_error);
    assert!(["open", "half_open"].contains(&row["breaker"].as_str().unwrap()));
    let stats = app.stats().await;
    assert_eq!(stats["queues"], json!({ "primary": ["good"], "secondary": [], "failure": ["bad"], "disabled": [] }));
    assert_eq!((&stats["failed_requests"], &stats["success_rate"]), (&json!(0), &json!(100.0)));
    assert!(stats["endpoint_verify_counts"]["bad"].as_u64().unwrap() >= 5);
    app.finish().await;
}

#[actix_web::test]
async fn a_revoked_key_isolates_at_the_first_answer() {
    check_filtered(status(401), "credential", "HTTP 401 authentication_error", 1).await;
}

#[actix_web::test]
async fn an_account_without_credit_isolates_at_the_first_answer() {
    check_filtered(status(402), "account", "HTTP 402 billing_error", 1).await;
}

#[actix_web::test]
async fn server_errors_isolate_at_the_third() {
    check_filtered(status(500), "upstream_status", "HTTP 500 api_error", 3).await;
}

#[actix_web::test]
async fn a_wrong_url_that_answers_404_to_everything_isolates_at_the_third() {
    let not_found = status_with(404, &[("content-type", "text/html")], "<h1>Not Found</h1>");
    check_filtered(not_found, "upstream_status", "HTTP 404", 3).await;
}

#[actix_web::test]
async fn a_log_in_page_isolates_at_the_third() {
    check_filtered(html(), "body", "HTTP 200 with a body that is no JSON object", 3).await;
}

#[actix_web::test]
async fn resets_isolate_at_the_third() {
    let (bad, good) = (Upstream::anthropic("bad").await, Upstream::anthropic("good").await);
    bad.behave(Behaviour::always(reset()));
    let app = Setup::new().primary(&bad).primary(&good).verified_on_demand().start().await;
    send_until_isolated(&app, "bad").await;
    assert_eq!(app.row("bad").await["isolated_reason"], "connect");
    app.finish().await;
}

#[actix_web::test]
async fn a_refused_connection_isolates_at_the_third() {
    let (bad, good) = (Upstream::anthropic("bad").await, Upstream::anthropic("good").await);
    bad.down().await;
    let app = Setup::new().primary(&bad).primary(&good).verified_every(20).start().await;
    send_until_isolated(&app, "bad").await;
    let row = app.row("bad").await;
    assert_eq!((&row["isolated_reason"], &row["failures"]), (&json!("connect"), &json!(3)));
    eventually("verifications of what refuses", async || app.row("bad").await["verify_count"].as_u64() > Some(3)).await;
    for _ in 0..50 {
        assert_eq!(app.message().await.header("x-qcc-endpoint"), Some("good"));
    }
    app.finish().await;
}

#[actix_web::test]
async fn a_silent_endpoint_isolates_by_its_time_outs() {
    let (bad, good) = (Upstream::anthropic("bad").await, Upstream::anthropic("good").await);
    bad.behave(Behaviour::always(crate::support::upstream::step::never_answer()));
    let app = Setup::new()
        .section("timeouts", "response = \"400ms\"")
        .primary(&bad)
        .primary(&good)
        .verified_on_demand()
        .start()
        .await;
    send_until_isolated(&app, "bad").await;
    assert_eq!(app.row("bad").await["isolated_reason"], "timeout");
    app.finish().await;
}

/// Promise 3: whoever has seen the end of the request that tripped an endpoint can rely on the isolation.
#[actix_web::test]
async fn whoever_has_seen_the_answer_finds_the_endpoint_isolated_in_the_stats() {
    let upstream = Upstream::anthropic("only").await;
    upstream.behave(Behaviour::always(status(500)));
    for _ in 0..20 {
        let app = Setup::new().isolated_by_one_failure().primary(&upstream).verified_on_demand().start().await;
        assert_eq!(app.message().await.status, 500);
        let row = app.row("only").await;
        assert_eq!((&row["standing"], &row["failures"]), (&json!("failure"), &json!(1)));
        app.finish().await;
    }
}

#[actix_web::test]
async fn every_move_is_an_event_with_its_reason() {
    let upstream = Upstream::anthropic("only").await;
    upstream.script_traffic([status(401)]);
    let app = Setup::new().primary(&upstream).verified_every(20).start().await;
    assert_eq!(app.message().await.status, 502);
    eventually("the recovery", async || app.row("only").await["standing"] == "primary").await;
    let events = app.events().await;
    let kinds: Vec<&Value> = events.iter().map(|event| &event["kind"]).collect();
    assert_eq!(kinds, ["added", "isolated", "verified", "recovered"]);
    assert_eq!(events[1]["reason"], "credential");
    assert_eq!(events[1]["detail"], "HTTP 401 authentication_error");
    assert_eq!(events[1]["model"], "claude-haiku-4-5");
    assert!(events[1]["epoch"].as_u64() < events[3]["epoch"].as_u64());
    assert_eq!(events[3]["score"], 100);
    app.finish().await;
}

/// The verifier comes when it is due and not before: growing delays, by the upstream's own count.
#[actix_web::test]
async fn an_isolated_endpoint_is_not_knocked_at_before_its_time() {
    let bad = Upstream::anthropic("bad").await;
    bad.behave(Behaviour::always(status(401)));
    let app = Setup::new().primary(&bad).verified_on_demand().start().await;
    assert_eq!(app.message().await.status, 502);
    assert_eq!(app.message().await.status, 503);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(bad.verifications(), 0);
    app.finish().await;
}

/// Once wrong: a list of models that could be had, or a count of tokens, cleared the failures of the models themselves.
#[actix_web::test]
async fn a_success_that_no_model_has_a_part_in_clears_no_failure() {
    for (method, path) in [("GET", "/v1/models"), ("POST", "/v1/messages/count_tokens")] {
        let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
        a.script_traffic([status(500), ok(), status(500), ok(), status(500)]);
        let app = Setup::new().primary(&a).secondary(&b).verified_on_demand().start().await;
        for failures in 1..=3 {
            assert_eq!(app.message().await.header("x-qcc-endpoint"), Some("b"));
            assert_eq!(app.row("a").await["consecutive_failures"], failures, "{path}");
            let mut client = app.client().await;
            let request = if method == "POST" { body(false) } else { String::new() };
            client.send_request(method, path, &[TRAFFIC], request.as_bytes()).await;
            let answer = client.answer().await;
            let served_by = Some(if failures < 3 { "a" } else { "b" });
            assert_eq!((answer.status, answer.header("x-qcc-endpoint")), (200, served_by), "{path}");
        }
        let row = app.row("a").await;
        assert_eq!((&row["standing"], &row["successes"]), (&json!("failure"), &json!(2)), "{path}");
        app.finish().await;
    }
}
