//! Requests that are answered before they have come: their clients get the answer, and nobody else pays for it.

use std::time::Duration;

use tokio::time::timeout;

use crate::support::app::{Setup, TestApp};
use crate::support::eventually::now;
use crate::support::raw_client::{Ended, RawClient};
use crate::support::upstream::Upstream;

/// Beyond all that both systems' buffers take.
const LARGE: usize = 8 << 20;

/// A gateway that wants keys, with further lines in its `[server]`.
async fn gateway(upstream: &Upstream, lines: &str) -> TestApp {
    let server = format!("host = \"127.0.0.1\"\nport = 0\nworkers = 1\n{lines}");
    Setup::only()
        .section("server", &server)
        .section("clients.alice", "key = \"alice-key\"")
        .primary(upstream)
        .start()
        .await
}

/// A client that has got 401, and may go on with its body.
async fn refused(app: &TestApp) -> RawClient {
    let mut client = app.client().await;
    client.send(b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nffffffff\r\n").await;
    assert_eq!(client.answer().await.status, 401);
    client
}

/// Found with 5 MB and no key: some clients got a broken pipe in place of the answer, always or mostly.
#[actix_web::test]
async fn a_client_that_sends_all_of_a_large_request_before_it_reads_gets_its_refusal() {
    let upstream = Upstream::anthropic("a").await;
    let app = gateway(&upstream, "max_body = \"1MiB\"").await;
    let large = vec![b'x'; LARGE];
    for (method, target, key, status) in [
        ("POST", "/v1/messages", "wrong", 401),
        ("POST", "/v1/messages", "alice-key", 413),
        ("POST", "/nothing", "alice-key", 404),
        ("PUT", "/v1/messages", "alice-key", 405),
        ("POST", "/__qcc__/nothing", "", 404),
    ] {
        let mut client = app.client().await;
        client.send_request(method, target, &[("x-api-key", key)], &large).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.ended), (status, Ended::Whole), "{method} {target}");
        assert_eq!(answer.header("connection"), Some("close"), "{method} {target}");
        assert_eq!(client.ended().await, Ended::Truncated, "{method} {target}");
    }
    assert_eq!(upstream.total(), 0);
    app.finish().await;
}

#[actix_web::test]
async fn a_client_that_sends_without_end_is_not_heard_out() {
    let upstream = Upstream::anthropic("a").await;
    let app = gateway(&upstream, "").await;
    let mut client = refused(&app).await;
    let (piece, mut sent) = (vec![b'x'; 1 << 20], 0);
    while client.try_send(&piece).await.is_ok() {
        sent += piece.len();
    }
    assert!((64 << 20..80 << 20).contains(&sent), "{sent}");
    let stats = app.client().await.get("/__qcc__/health/ready", &[]).await;
    assert_eq!(stats.status, 200);
    app.finish().await;
}

#[actix_web::test]
async fn a_client_that_is_heard_out_has_its_place_among_the_connections() {
    let upstream = Upstream::anthropic("a").await;
    let app = gateway(&upstream, "max_connections = 1").await;
    let first = refused(&app).await;
    let mut second = app.client().await;
    second.send_request("GET", "/__qcc__/health/ready", &[], b"").await;
    assert!(timeout(Duration::from_millis(100), second.answer_head()).await.is_err(), "there is no place for it yet");
    drop(first);
    assert_eq!(second.answer().await.status, 200);
    app.finish().await;
}

/// What it still sends is no request, so that nothing is lost with it.
#[actix_web::test]
async fn a_client_that_is_heard_out_holds_a_stop_up_for_a_second_only() {
    let upstream = Upstream::anthropic("a").await;
    let app = gateway(&upstream, "shutdown_grace = \"30s\"").await;
    let mut client = refused(&app).await;
    let sending = async {
        // Far more often than a pause may be long.
        while client.try_send(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let began = now();
    tokio::join!(sending, app.finish());
    let took = began.elapsed();
    assert!((Duration::from_millis(900)..Duration::from_secs(10)).contains(&took), "{took:?}");
}
