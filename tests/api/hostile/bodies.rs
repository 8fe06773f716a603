//! Bodies of requests that are too large, do not end, or come in the smallest pieces. That one which does not come, or is
//! too large by its own word, is refused is in `refusals.rs` and `connections.rs`.

use super::{Scene, attack};
use crate::support::app::TRAFFIC;
use crate::support::raw_client::{Ended, RawClient};
use crate::support::wire::chunk;

const CHUNKED: &str = "POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-traffic: 1\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";

/// Sends until the peer takes no more, and at most so many times.
async fn send_on(client: &mut RawClient, bytes: &[u8], times: usize) {
    for _ in 0..times {
        if client.try_send(bytes).await.is_err() {
            return;
        }
    }
}

#[actix_web::test]
async fn a_body_without_end_is_refused_and_its_connection_closed() {
    let scene = Scene::set("max_body = \"1MiB\"").await;
    let piece = format!("10000\r\n{}\r\n", " ".repeat(1 << 16));
    for (what, first, more) in [
        ("chunks", "", piece.as_str()),
        ("one chunk that claims all of memory", "ffffffffffffffff\r\n", piece.as_str()),
        ("chunks of a byte", "", "1\r\n \r\n1\r\n \r\n1\r\n \r\n1\r\n \r\n1\r\n \r\n1\r\n \r\n1\r\n \r\n1\r\n \r\n"),
    ] {
        let mut client = scene.client().await;
        client.send(CHUNKED.as_bytes()).await;
        client.send(first.as_bytes()).await;
        send_on(&mut client, more.repeat(64).as_bytes(), 10_000).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.ended), (413, Ended::Whole), "{what}");
        client.ended().await;
        scene.others_go_on().await;
    }
    scene.assert_bounded("bodies without end");
}

/// What stands around a body is no body: it moves no time limit.
#[actix_web::test]
async fn framing_without_end_is_refused_as_a_body_that_does_not_come() {
    let scene = Scene::set("body_timeout = \"300ms\"").await;
    for (what, first, more) in [
        ("an extension", "3;x=", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
        ("a size of zeros", "", "00000000000000000000000000000000000000000000000000"),
        ("trailers", "3\r\n{ }\r\n0\r\n", "x-filling: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n"),
    ] {
        let mut client = scene.client().await;
        client.send(CHUNKED.as_bytes()).await;
        client.send(first.as_bytes()).await;
        let answer = loop {
            // The pace is the attack's: something comes at all times.
            let sent = client.try_send(more.as_bytes()).await;
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            if sent.is_err() {
                break client.answer().await;
            }
        };
        assert_eq!(answer.status, 408, "{what}");
        scene.others_go_on().await;
    }
    assert_eq!(scene.hostile.requests().iter().filter(|request| request.chunked).count(), 0);
    scene.assert_bounded("framing without end");
}

#[actix_web::test]
async fn a_body_in_chunks_of_a_byte_arrives_whole_and_costs_no_multiple_of_its_length() {
    const LENGTH: usize = 200_000;
    let scene = Scene::set("").await;
    let mut client = scene.client().await;
    client.send(CHUNKED.as_bytes()).await;
    let body = format!("{}{}", attack(false), " ".repeat(LENGTH));
    let chunks: Vec<Vec<u8>> = body.bytes().map(|byte| chunk(&[byte])).collect();
    client.send(&chunks.concat()).await;
    client.send(b"0\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(scene.hostile.received(1).await.body, body);
    let growth = scene.growth();
    assert!(growth < 24 << 20, "the gateway grew by {growth} bytes");
}

/// A request whose client leaves gives back what it held.
#[actix_web::test]
async fn whoever_fills_the_buffer_and_leaves_is_soon_forgotten() {
    let scene = Scene::set("max_buffered = \"1MiB\"").await;
    let mut attacks = Vec::new();
    for _ in 0..2 {
        let mut client = scene.client().await;
        let head = format!("POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", 1 << 20);
        client.send(head.as_bytes()).await;
        client.send(&vec![b' '; 600_000]).await;
        attacks.push(client);
    }
    // Which of them comes last is up to the system.
    let answers = attacks.iter_mut().map(|client| Box::pin(client.answer()));
    let (refused, ..) = futures_util::future::select_all(answers).await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert_eq!(scene.client().await.get("/__qcc__/health/live", &[TRAFFIC]).await.status, 200, "health is heard");
    drop(attacks);
    crate::support::eventually::eventually("room for others", async || {
        let large = format!("{}{}", attack(false), " ".repeat(900_000));
        scene.client().await.post("/v1/messages", &[TRAFFIC], large).await.status == 200
    })
    .await;
}
