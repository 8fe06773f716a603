//! Heads that do not end, in numbers. One that is too large or too slow is in `connections.rs` and `conformance/`.

use super::Scene;
use crate::support::eventually::eventually;
use crate::support::raw_client::Ended;

/// As much of a head as the server holds without having seen its end.
fn half_a_head() -> String {
    format!("GET /v1/models HTTP/1.1\r\nhost: x\r\nx-filling: {}", "x".repeat(100_000))
}

/// Found with many connections that each send most of the longest head and wait: nothing bounded what they held together.
#[actix_web::test]
async fn what_heads_under_way_hold_together_is_bounded() {
    const CONNECTIONS: usize = 400;
    let scene = Scene::set("max_buffered = \"4MiB\"\nheader_timeout = \"5m\"").await;
    let head = half_a_head();
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut client = scene.client().await;
        // A connection that was refused may be closed before all of it is sent.
        let _sent = client.try_send(head.as_bytes()).await;
        held.push(client);
    }
    // Far more are here than may be held: of the first ones some wait, all others were refused.
    let last = held.last_mut().expect("there are many").answer().await;
    assert_eq!((last.status, last.header("retry-after"), last.ended), (503, Some("1"), Ended::Whole));
    scene.others_go_on().await;
    let growth = scene.growth();
    assert!(growth < 24 << 20, "the gateway grew by {growth} bytes");
    drop(held);
    eventually("room for a large head", async || {
        let mut client = scene.client().await;
        client.send(format!("{}\r\n\r\n", half_a_head()).as_bytes()).await;
        client.answer().await.status == 200
    })
    .await;
}

#[actix_web::test]
async fn a_later_head_beyond_the_bound_has_its_connection_closed_without_an_answer() {
    let scene = Scene::set("max_buffered = \"16KiB\"\nheader_timeout = \"5m\"").await;
    let mut client = scene.client().await;
    assert_eq!(client.head("/", &[]).await.status, 200);
    let _sent = client.try_send(half_a_head().as_bytes()).await;
    assert_eq!(client.try_answer().await.unwrap_err(), Ended::Truncated);
    scene.others_go_on().await;
}
