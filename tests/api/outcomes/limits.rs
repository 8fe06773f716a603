//! What answers say of limits: what is passed on of it, and what the stats show.

use std::time::Duration;

use serde_json::{Value, json};

use super::ONE_TURN;
use crate::support::app::{Setup, TRAFFIC, TestApp, body};
use crate::support::raw_client::Ended;
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{Step, close, never_answer, raw, sse, status, status_and, status_with};

#[actix_web::test]
async fn a_long_retry_after_is_passed_on_as_one_that_clients_wait_for() {
    for (named, passed_on) in [
        ("124633", "59"),
        ("60", "59"),
        ("124633.5", "59"),
        ("Fri, 31 Dec 2100 23:59:59 GMT", "59"),
        ("Friday, 31-Dec-60 23:59:59 GMT", "59"),
        ("59", "59"),
        ("7", "7"),
        ("0", "0"),
        ("Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("soon", "soon"),
    ] {
        // A refusal that is the client's own is passed on as it is, whatever else is done about a rate limit.
        let upstream = Upstream::anthropic("a").await;
        upstream.script([status_and(413, &[("retry-after", named)])]);
        let app = Setup::new().primary(&upstream).start().await;
        let answer = app.message().await;
        assert_eq!((answer.status, answer.header("retry-after")), (413, Some(passed_on)));
        app.finish().await;
    }
    for (named, passed_on) in [("7200000", "59000"), ("59000", "59000"), ("soon", "soon")] {
        let upstream = Upstream::anthropic("a").await;
        upstream.script([status_and(413, &[("retry-after-ms", named)])]);
        let app = Setup::new().primary(&upstream).start().await;
        let answer = app.message().await;
        assert_eq!((answer.status, answer.header("retry-after-ms")), (413, Some(passed_on)));
        app.finish().await;
    }
}

#[actix_web::test]
async fn the_latest_values_of_rate_limits_are_in_the_endpoints_row() {
    let upstream = Upstream::anthropic("a").await;
    let json_type = ("content-type", "application/json");
    let (limit, left) = ("anthropic-ratelimit-requests-limit", "anthropic-ratelimit-requests-remaining");
    upstream.script([
        status_with(200, &[json_type, (limit, "50"), (left, "49"), ("retry-after", "1")], "{\"type\":\"message\"}"),
        status_and(400, &[(left, "48"), ("x-ratelimit-reset-tokens", "6m0s"), ("x-other", "1")]),
        sse(1).then_end(),
    ]);
    let app = Setup::new().primary(&upstream).start().await;
    assert_eq!(app.row("a").await["rate_limits"], json!({}));
    app.message().await;
    assert_eq!(app.row("a").await["rate_limits"], json!({ limit: "50", left: "49" }));
    app.message().await;
    let latest = json!({ limit: "50", left: "48", "x-ratelimit-reset-tokens": "6m0s" });
    assert_eq!(app.row("a").await["rate_limits"], latest);
    app.client().await.post("/v1/messages", &[TRAFFIC], body(true)).await;
    assert_eq!(app.row("a").await["rate_limits"], latest, "an answer without any leaves them");
    app.finish().await;
}

#[actix_web::test]
async fn a_streams_rate_limits_are_shown_as_soon_as_its_head_has_come() {
    let upstream = Upstream::anthropic("a").await;
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\nx-ratelimit-limit-tokens: 9\r\n\r\n";
    let event = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"}}\n\n";
    let chunk = format!("{:x}\r\n{event}\r\n", event.len());
    upstream.script([raw(format!("{head}{chunk}")).then(never_answer())]);
    let app = Setup::new().primary(&upstream).start().await;
    let mut client = app.client().await;
    client.send_request("POST", "/v1/messages", &[TRAFFIC], body(true).as_bytes()).await;
    client.answer_head().await;
    assert_eq!(app.row("a").await["rate_limits"], json!({ "x-ratelimit-limit-tokens": "9" }));
    drop(client);
    app.finish().await;
}

const DAY: u64 = 24 * 60 * 60;

/// The seconds that an endpoint still rests, and why. None where it does not.
async fn rest(app: &TestApp, id: &str) -> Option<(f64, Value)> {
    let stats = app.stats().await;
    let time = |value: &Value| humantime::parse_rfc3339(value.as_str().unwrap()).unwrap();
    let now = time(&stats["start_time"]) + Duration::from_secs_f64(stats["uptime"].as_f64().unwrap());
    let row = app.row(id).await;
    let cooldown = row["cooldowns"].as_array().unwrap().first()?.clone();
    let left = time(&cooldown["until"]).duration_since(now).unwrap_or_default();
    Some((left.as_secs_f64(), cooldown["reason"].clone()))
}

async fn check_rest(path: &str, step: Step, seconds: Option<u64>, reason: &str) {
    let protocol = if path.starts_with("/v1/messages") { "" } else { "protocol = \"openai\"\n" };
    let upstream = Upstream::anthropic("a").await;
    upstream.script([step.clone()]);
    let app = Setup::new()
        .section("retry", ONE_TURN)
        .endpoint("a", &upstream.base_url(), protocol)
        .verified_on_demand()
        .start()
        .await;
    app.client().await.post(path, &[TRAFFIC], body(false)).await;
    match (rest(&app, "a").await, seconds) {
        (None, None) => {}
        (Some((left, why)), Some(seconds)) => {
            let wanted = Duration::from_secs(seconds).as_secs_f64();
            // Times are shown to the millisecond.
            assert!(left < wanted + 0.1 && left > wanted - 5.0, "{left} s for {wanted}: {path} {step:?}");
            assert_eq!(why, reason, "{path} {step:?}");
        }
        (found, wanted) => panic!("{found:?} for {wanted:?}: {path} {step:?}"),
    }
    let row = app.row("a").await;
    assert_eq!((&row["failures"], &row["standing"]), (&json!(0), &json!("primary")), "a limit is no fault");
    app.finish().await;
}

#[actix_web::test]
async fn a_rate_limit_rests_the_endpoint_for_as_long_as_the_answer_says() {
    let json_type = ("content-type", "application/json");
    let in_200 = r#"{"type":"error","error":{"type":"rate_limit_error","message":"x"}}"#;
    let far = "2100-12-31T23:59:59Z";
    let limited = |headers: &[(&str, &str)]| status_and(429, headers);
    let cases: Vec<(Step, Option<u64>)> = vec![
        (limited(&[("retry-after", "600")]), Some(600)),
        (limited(&[("retry-after", "124633")]), Some(124_633)),
        (limited(&[("retry-after-ms", "600500")]), Some(601)),
        (limited(&[("retry-after", "Fri, 31 Dec 2100 23:59:59 GMT")]), Some(8 * DAY)),
        (
            limited(&[("anthropic-ratelimit-tokens-remaining", "0"), ("anthropic-ratelimit-tokens-reset", far)]),
            Some(8 * DAY),
        ),
        (
            limited(&[
                ("anthropic-ratelimit-unified-5h-status", "rejected"),
                ("anthropic-ratelimit-unified-5h-reset", "4133980799"),
            ]),
            Some(8 * DAY),
        ),
        (limited(&[("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "6m0s")]), Some(360)),
        (
            limited(&[
                ("x-ratelimit-remaining-requests", "0"),
                ("x-ratelimit-reset-requests", "6m0s"),
                ("retry-after", "700"),
            ]),
            Some(700),
        ),
        (limited(&[("x-ratelimit-remaining-requests", "1"), ("x-ratelimit-reset-requests", "6m0s")]), None),
        (limited(&[]), None),
        (status_with(429, &[("content-type", "text/html"), ("retry-after", "600")], "<h1>429</h1>"), Some(600)),
        (status_with(200, &[json_type, ("retry-after", "600")], in_200), Some(600)),
        (status_with(200, &[json_type], in_200), None),
        (status_and(400, &[("retry-after", "600")]), None),
    ];
    for path in ["/v1/messages", "/v1/chat/completions"] {
        for (step, seconds) in &cases {
            check_rest(path, step.clone(), *seconds, "rate_limit").await;
        }
    }
}

#[actix_web::test]
async fn an_overload_rests_the_endpoint_for_its_retry_after_or_a_short_time() {
    let json_type = ("content-type", "application/json");
    let in_200 = r#"{"type":"error","error":{"type":"overloaded_error","message":"x"}}"#;
    for path in ["/v1/messages", "/v1/responses"] {
        for (step, seconds) in [
            (status_and(529, &[("retry-after", "20")]), 20),
            (status(529), 2),
            (status_with(503, &[json_type, ("retry-after", "20")], in_200), 20),
            (status_with(200, &[json_type, ("retry-after", "20")], in_200), 20),
        ] {
            check_rest(path, step, Some(seconds), "overload").await;
        }
    }
}

#[actix_web::test]
async fn a_limit_of_the_token_counter_or_of_the_clients_own_account_rests_nobody() {
    let limited = status_and(429, &[("retry-after", "600")]);
    check_rest("/v1/messages/count_tokens", limited.clone(), None, "").await;
    let upstream = Upstream::anthropic("a").await;
    upstream.script([limited]);
    let app = Setup::new()
        .section("retry", ONE_TURN)
        .endpoint("a", &upstream.base_url(), "auth = \"passthrough\"")
        .verified_on_demand()
        .start()
        .await;
    let mut client = app.client().await;
    let answer = client.post("/v1/messages", &[TRAFFIC, ("x-api-key", "alices")], body(false)).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("59")));
    let answer = client.post("/v1/messages", &[TRAFFIC, ("x-api-key", "bobs")], body(false)).await;
    assert_eq!(answer.status, 200, "one client's used-up window is not another's");
    assert_eq!(rest(&app, "a").await, None);
    app.finish().await;
}

/// The row of an endpoint whose answer broke off behind this, once another one has served the request.
async fn row_after_torn(answer: &str) -> Value {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.script([raw(answer.to_owned()).then(close())]);
    let app = Setup::new().primary(&a).secondary(&b).start().await;
    let answer = app.message().await;
    assert_eq!((answer.status, answer.header("x-qcc-endpoint")), (200, Some("b")));
    let row = app.row("a").await;
    app.finish().await;
    row
}

/// Once wrong: it counted as a body that was not whole, and three of them isolated the endpoint.
#[actix_web::test]
async fn a_limit_whose_body_is_torn_is_a_limit() {
    for (status, torn) in
        [(429, "content-length: 99\r\n\r\n{\"type\""), (529, "transfer-encoding: chunked\r\n\r\n9\r\n{")]
    {
        let head = format!("HTTP/1.1 {status} x\r\ncontent-type: application/json\r\nretry-after: 30\r\n");
        let row = row_after_torn(&(head + torn)).await;
        assert_eq!((&row["failures"], &row["consecutive_failures"]), (&json!(0), &json!(0)), "{status}: {row}");
        assert_eq!(row["cooldowns"].as_array().map(Vec::len), Some(1), "{status}: {row}");
    }
}

/// Found from outside: nginx, which closes behind its answer to a body that is too large, may lose a part of that, and three such
/// requests isolated the endpoint.
#[actix_web::test]
async fn an_error_of_the_clients_counts_as_nothing_though_its_body_is_torn() {
    let error = r#"{"type":"error","error":{"type":"invalid_request_error","message":"m"}}"#;
    for (status, torn, passed_on) in [(400, error, error), (413, "<html>", "")] {
        let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
        let announced = torn.len() + 9;
        let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {announced}\r\n\r\n{torn}");
        a.script([raw(head).then(close())]);
        let app = Setup::new().primary(&a).secondary(&b).start().await;
        let answer = app.message().await;
        assert_eq!((answer.status, answer.text().as_str(), answer.ended), (status, passed_on, Ended::Whole));
        assert_eq!((app.row("a").await["failures"].clone(), b.traffic()), (json!(0), 0), "{status}");
        app.finish().await;
    }
}

/// A body that has not come shows no shape of the protocol's.
#[actix_web::test]
async fn a_refused_credential_whose_body_is_torn_isolates_nobody_at_once() {
    for status in [401, 402] {
        let head = format!("HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n");
        let row = row_after_torn(&(head + "{")).await;
        assert_eq!((&row["standing"], &row["failures"]), (&json!("primary"), &json!(1)), "{status}: {row}");
    }
}
