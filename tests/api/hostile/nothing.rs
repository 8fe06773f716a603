//! Bodies that are long on the wire and stand for nothing: however long it takes to find that out, others go on.

use std::io::Write;
use std::pin::pin;

use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::future::{Either, select};
use serde_json::Value;

use super::Scene;
use crate::support::eventually::eventually;
use crate::support::raw_client::RawClient;
use crate::support::streaming::STREAM_HEAD;
use crate::support::upstream::step::{raw, status_with};
use crate::support::wire::chunk;

/// Far more than a second's work.
const MEMBERS: usize = 800_000;
/// More than may be answered before all that has been sent is looked at.
const OTHERS: usize = 5;

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// 16 MB of members without content, and a last one.
fn mostly_nothing(text: &[u8]) -> Vec<u8> {
    [gzip(b"").repeat(MEMBERS), gzip(text)].concat()
}

/// What others ask for, one after the other, is answered before this client is.
async fn others_come_first(scene: &Scene, client: &mut RawClient) {
    let others = pin!(async {
        for _ in 0..OTHERS {
            scene.others_go_on().await;
        }
    });
    if let Either::Left((head, _)) = select(pin!(client.answer_head()), others).await {
        panic!("{} while others wait", head.status);
    }
}

/// How much of requests' bodies is held.
async fn buffered(scene: &Scene) -> usize {
    let metrics = scene.client().await.get("/__qcc__/metrics", &[]).await.text();
    let value = metrics.lines().find_map(|line| line.strip_prefix("qcc_buffered_bytes ")).unwrap();
    value.parse().unwrap()
}

async fn stats(scene: &Scene) -> Value {
    scene.client().await.get("/__qcc__/stats", &[]).await.json()
}

/// Found with twice as many: nobody on the thread had an answer for 12 s, nor had anybody a new endpoint.
#[actix_web::test]
async fn others_are_answered_while_a_request_that_stands_for_nothing_is_decoded_and_that_ends_with_its_client() {
    let scene = Scene::set("max_body = \"20MiB\"").await;
    // At its end it would be refused at once.
    let body = mostly_nothing(&vec![b' '; 21 << 20]);
    let (last, first) = body.split_last().unwrap();
    let mut client = scene.client().await;
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-traffic: 1\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    client.send(head.as_bytes()).await;
    client.send(first).await;
    eventually("all but the last byte to have come", async || buffered(&scene).await >= first.len()).await;
    client.send(&[*last]).await;
    others_come_first(&scene, &mut client).await;
    drop(client);
    eventually("the request to be forgotten", async || buffered(&scene).await == 0).await;
    let stats = stats(&scene).await;
    assert_eq!((&stats["cancelled_requests"], &stats["rejected_requests"]), (&1.into(), &0.into()));
}

#[actix_web::test]
async fn others_are_answered_while_an_answer_or_a_stream_that_stands_for_nothing_is_decoded() {
    let body = mostly_nothing(b"{}");
    let head = STREAM_HEAD.replace("\r\n\r\n", "\r\ncontent-encoding: gzip\r\n\r\n");
    let stream = raw([head.as_bytes(), &chunk(&body), b"0\r\n\r\n"].concat());
    let headers = [("content-type", "application/json"), ("content-encoding", "gzip")];
    for (wanted, step) in [(false, status_with(200, &headers, body)), (true, stream)] {
        let scene = Scene::set("").await;
        scene.attacked_by(step);
        let mut client = scene.ask(wanted).await;
        let attack = scene.hostile.received(1).await;
        others_come_first(&scene, &mut client).await;
        drop(client);
        attack.closed_by_peer().await;
        scene.assert_bounded("an answer that stands for nothing");
    }
}
