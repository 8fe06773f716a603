//! Event streams: passed on as they come, and honest about their end.

use serde_json::json;

use crate::support::app::{Setup, TRAFFIC, body};
use crate::support::eventually::eventually;
use crate::support::raw_client::{Ended, RawClient};
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{Behaviour, sse, status};

async fn ask(client: &mut RawClient) {
    client.send_request("POST", "/v1/messages", &[TRAFFIC], body(true).as_bytes()).await;
}

#[actix_web::test]
async fn each_event_comes_as_soon_as_the_upstream_has_sent_it() {
    let upstream = Upstream::anthropic("a").await;
    upstream.script([sse(2).hold("rest").more(2).then_end()]);
    let app = Setup::new().primary(&upstream).start().await;
    let mut client = app.client().await;
    ask(&mut client).await;
    let head = client.answer_head().await;
    assert_eq!((head.status, head.headers.get("x-accel-buffering")), (200, Some("no")));
    // Nothing more comes from the upstream until the gate opens, so whatever is read now was not held back.
    assert_eq!(client.event().await.unwrap().name.as_deref(), Some("message_start"));
    upstream.gates().reached("rest").await;
    upstream.gates().open("rest");
    let rest = client.rest().await;
    assert_eq!(rest.ended, Ended::Whole);
    assert_eq!(rest.events().last().unwrap().name.as_deref(), Some("message_stop"));
    assert!(client.is_reusable());
    let row = app.row("a").await;
    assert_eq!((&row["successes"], &row["in_flight"]), (&json!(1), &json!(0)));
    app.finish().await;
}

#[actix_web::test]
async fn a_stream_that_fails_before_its_head_is_served_by_the_next_endpoint() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.behave(Behaviour::always(status(500)));
    let app = Setup::new().primary(&a).secondary(&b).start().await;
    let mut client = app.client().await;
    ask(&mut client).await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.header("x-qcc-endpoint"), answer.ended), (200, Some("b"), Ended::Whole));
    app.finish().await;
}

/// A client never takes a broken stream for a whole one: the connection breaks, after all that had come.
#[actix_web::test]
async fn a_stream_that_breaks_off_is_broken_off_and_counts_as_a_failure() {
    for breaking in [sse(3).then_reset(), sse(3).then_close()] {
        let upstream = Upstream::anthropic("a").await;
        upstream.script([breaking]);
        let app = Setup::new()
            .section("breaker", "failure_threshold = 1")
            .primary(&upstream)
            .verified_on_demand()
            .start()
            .await;
        let mut client = app.client().await;
        ask(&mut client).await;
        client.answer_head().await;
        let rest = client.rest().await;
        assert_ne!(rest.ended, Ended::Whole);
        let row = app.row("a").await;
        assert_eq!(
            (&row["standing"], &row["isolated_reason"]),
            (&json!("failure"), &json!("stream")),
            "before the cut is seen"
        );
        assert_eq!(app.stats().await["failed_requests"], 1);
        app.finish().await;
    }
}

/// Found with a client that hangs up at `[DONE]` without waiting for the last chunk: its answer was whole.
#[actix_web::test]
async fn a_client_that_leaves_at_the_closing_event_has_had_its_whole_answer() {
    let upstream = Upstream::openai("o").await;
    upstream.script([sse(2).finished().bytes("data: [DONE]\n\n").hold("end").then_cut()]);
    let app = Setup::new().endpoint("o", &upstream.base_url(), "protocol = \"openai\"").start().await;
    let mut client = app.client().await;
    client.send_request("POST", "/v1/chat/completions", &[TRAFFIC], body(true).as_bytes()).await;
    client.answer_head().await;
    while client.event().await.unwrap().data != "[DONE]" {}
    drop(client);
    eventually("the request to be counted", async || app.stats().await["total_requests"] == 1).await;
    let row = app.row("o").await;
    assert_eq!((&row["successes"], &row["cancelled"], &row["proven"]), (&json!(1), &json!(0), &json!(true)));
    assert_eq!(app.stats().await["successful_requests"], 1);
    app.finish().await;
}

#[actix_web::test]
async fn a_stream_that_ends_cleanly_without_its_closing_event_is_broken_off() {
    let upstream = Upstream::anthropic("a").await;
    upstream.script([sse(3).then_cut()]);
    let app = Setup::new().primary(&upstream).start().await;
    let mut client = app.client().await;
    ask(&mut client).await;
    client.answer_head().await;
    let rest = client.rest().await;
    assert_ne!(rest.ended, Ended::Whole, "a torn answer must not look whole");
    assert_eq!(app.row("a").await["last_error"], "the stream ended without its closing event");
    app.finish().await;
}

#[actix_web::test]
async fn a_stream_that_falls_silent_is_broken_off() {
    let upstream = Upstream::anthropic("a").await;
    upstream.script([sse(1).then_stall()]);
    let app = Setup::new().section("timeouts", "stream_idle = \"100ms\"").primary(&upstream).start().await;
    let mut client = app.client().await;
    ask(&mut client).await;
    client.answer_head().await;
    assert_ne!(client.rest().await.ended, Ended::Whole);
    let row = app.row("a").await;
    assert_eq!((&row["failures"], &row["last_error"]), (&json!(1), &json!("the upstream fell silent")));
    app.finish().await;
}

#[actix_web::test]
async fn a_stream_whose_head_does_not_come_goes_to_the_next_endpoint() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.behave(Behaviour::always(crate::support::upstream::step::never_answer()));
    let app = Setup::new().section("timeouts", "first_event = \"100ms\"").primary(&a).secondary(&b).start().await;
    let mut client = app.client().await;
    ask(&mut client).await;
    let answer = client.answer().await;
    assert_eq!((answer.header("x-qcc-endpoint"), answer.ended), (Some("b"), Ended::Whole));
    assert!(answer.header("x-qcc-trail").unwrap().starts_with("a=timeout@"));
    app.finish().await;
}

#[actix_web::test]
async fn an_openai_stream_passes_too() {
    let upstream = Upstream::openai("o").await;
    let app = Setup::new().endpoint("o", &upstream.base_url(), "protocol = \"openai\"").start().await;
    for path in ["/v1/chat/completions", "/v1/responses"] {
        let answer = app.client().await.post(path, &[TRAFFIC], body(true)).await;
        assert_eq!((answer.status, answer.ended), (200, Ended::Whole), "{path}");
        assert!(answer.events().len() > 2);
    }
    app.finish().await;
}
