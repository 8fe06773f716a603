//! A client that leaves counts as nothing, and its upstream request ends at once.

use std::time::Duration;

use serde_json::json;

use crate::support::app::{Setup, TRAFFIC, body};
use crate::support::eventually::eventually;
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{Behaviour, hold, never_answer, ok, sse};

/// Longer than a client's leaving may take to reach the upstream.
const A_SECOND: Duration = Duration::from_secs(1);

/// The upstream sees the end within a second, and nothing was counted against the endpoint.
async fn check_left(app: &crate::support::app::TestApp, upstream: &Upstream) {
    let request = upstream.received(1).await;
    tokio::time::timeout(A_SECOND, request.closed_by_peer()).await.expect("the upstream request ends within a second");
    eventually("the request to be counted", async || app.stats().await["cancelled_requests"] == 1).await;
    let row = app.row("a").await;
    assert_eq!((&row["in_flight"], &row["failures"], &row["cancelled"]), (&json!(0), &json!(0), &json!(1)));
    assert_eq!((&row["standing"], &row["consecutive_failures"]), (&json!("primary"), &json!(0)));
    let stats = app.stats().await;
    assert_eq!((&stats["failed_requests"], &stats["success_rate"]), (&json!(0), &json!(100.0)));
}

#[actix_web::test]
async fn a_client_that_leaves_a_silent_upstream_counts_as_nothing() {
    for abrupt in [true, false] {
        let upstream = Upstream::anthropic("a").await;
        upstream.behave(Behaviour::always(never_answer()));
        let app = Setup::new().primary(&upstream).start().await;
        let mut client = app.client().await;
        client.send_request("POST", "/v1/messages", &[TRAFFIC], body(false).as_bytes()).await;
        upstream.received(1).await;
        if abrupt {
            client.hang_up();
        } else {
            drop(client);
        }
        check_left(&app, &upstream).await;
        app.finish().await;
    }
}

#[actix_web::test]
async fn a_client_that_leaves_in_the_midst_of_a_stream_counts_as_nothing() {
    let upstream = Upstream::anthropic("a").await;
    upstream.behave(Behaviour::always(sse(3).then_stall()));
    let app = Setup::new().primary(&upstream).start().await;
    let mut client = app.client().await;
    client.send_request("POST", "/v1/messages", &[TRAFFIC], body(true).as_bytes()).await;
    assert_eq!(client.answer_head().await.status, 200);
    client.event().await.unwrap();
    assert_eq!(app.row("a").await["in_flight"], 1, "the lease lasts as long as the stream");
    drop(client);
    check_left(&app, &upstream).await;
    app.finish().await;
}

#[actix_web::test]
async fn a_client_that_leaves_while_an_answer_is_held_counts_as_nothing() {
    let upstream = Upstream::anthropic("a").await;
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"type\":";
    upstream.script([crate::support::upstream::step::raw(head).then(hold("half")).then(ok())]);
    let app = Setup::new().primary(&upstream).start().await;
    let mut client = app.client().await;
    client.send_request("POST", "/v1/messages", &[TRAFFIC], body(false).as_bytes()).await;
    upstream.gates().reached("half").await;
    drop(client);
    check_left(&app, &upstream).await;
    app.finish().await;
}

#[actix_web::test]
async fn ten_leaving_clients_do_not_trip_a_breaker() {
    let upstream = Upstream::anthropic("a").await;
    upstream.behave(Behaviour::always(never_answer()));
    let app = Setup::new().isolated_by_one_failure().primary(&upstream).start().await;
    for number in 1..=10 {
        let mut client = app.client().await;
        client.send_request("POST", "/v1/messages", &[TRAFFIC], body(false).as_bytes()).await;
        upstream.received(number).await;
        client.hang_up();
    }
    eventually("all to be counted", async || app.stats().await["cancelled_requests"] == 10).await;
    assert_eq!(app.row("a").await["standing"], "primary");
    app.finish().await;
}
