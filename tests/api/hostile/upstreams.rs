//! Upstreams that send without end, or in a way that nobody can read.

use super::{Scene, attack, read_some};
use crate::support::app::TRAFFIC;
use crate::support::raw_client::Ended;
use crate::support::streaming::STREAM_HEAD;
use crate::support::upstream::step::{Step, raw, repeat, status_with};

const MANY: usize = 1 << 20;
const LINE: &str =
    "x-filling: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n";
const JSON_HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
/// So much of an answer without end is read before its client leaves.
const ENOUGH: usize = 24 << 20;
const GIGABYTE: usize = 1 << 30;
const BLOCK: usize = 64 << 10;

/// A head that announces a gigabyte, and the gigabyte.
fn gigabyte(status: u16) -> Step {
    let head = format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {GIGABYTE}\r\n\r\n");
    raw(head).then(repeat(vec![b' '; BLOCK], GIGABYTE / BLOCK))
}

/// What an upstream does that nobody can make an answer of: another endpoint serves the request.
async fn check_unusable(cases: impl IntoIterator<Item = (&'static str, bool, Step)>) {
    let scene = Scene::set("").await;
    for (what, stream, step) in cases {
        scene.attacked_by(step);
        let (answer, ()) = futures_util::future::join(scene.answer(stream), scene.others_go_on()).await;
        assert_eq!((answer.status, answer.header("x-qcc-endpoint")), (200, Some("spare")), "{what}");
        assert_eq!(answer.ended, Ended::Whole, "{what}");
        scene.assert_bounded(what);
    }
}

/// What is passed on as it comes: at the client's pace, and no longer than the client stays.
async fn check_passed_on(cases: impl IntoIterator<Item = (&'static str, bool, Step)>) {
    let scene = Scene::set("").await;
    for (what, stream, step) in cases {
        scene.attacked_by(step);
        let received = scene.hostile.total();
        let mut client = scene.ask(stream).await;
        client.answer_head().await;
        let read = read_some(&mut client, ENOUGH / 2).await;
        scene.others_go_on().await;
        assert!(read + read_some(&mut client, ENOUGH / 2).await >= ENOUGH, "{what}");
        drop(client);
        scene.hostile.received(received + 1).await.closed_by_peer().await;
        scene.assert_bounded(what);
    }
}

#[actix_web::test]
async fn a_head_without_end_is_given_up() {
    check_unusable([
        ("lines", false, raw("HTTP/1.1 200 OK\r\n").then(repeat(LINE, MANY))),
        ("one line", true, raw("HTTP/1.1 200 OK\r\nx-a: ").then(repeat("x".repeat(1000), MANY))),
        ("empty lines before it", false, repeat("\r\n".repeat(500), MANY)),
        ("interim answers", true, repeat("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n", MANY)),
        ("large interim answers", false, repeat(format!("HTTP/1.1 102 Processing\r\n{}\r\n", LINE.repeat(50)), MANY)),
    ])
    .await;
}

#[actix_web::test]
async fn an_error_of_a_gigabyte_is_given_up() {
    check_unusable([
        ("HTTP 500", false, gigabyte(500)),
        ("HTTP 502", true, gigabyte(502)),
        ("HTTP 403", false, gigabyte(403)),
    ])
    .await;
}

#[actix_web::test]
async fn a_gigabyte_is_passed_on_at_the_pace_of_its_client() {
    check_passed_on([("an answer", false, gigabyte(200)), ("an error of the client's", false, gigabyte(400))]).await;
}

#[actix_web::test]
async fn a_line_of_an_event_stream_that_does_not_end_is_passed_on_at_the_pace_of_its_client() {
    let chunk = format!("{BLOCK:x}\r\n{}\r\n", "x".repeat(BLOCK));
    let endless = |begins: &str| {
        let begins = format!("{STREAM_HEAD}{:x}\r\n{begins}\r\n", begins.len());
        raw(begins).then(repeat(chunk.clone(), GIGABYTE / BLOCK))
    };
    check_passed_on([
        ("of content", true, endless("event: content_block_delta\ndata: ")),
        ("of the preamble", true, endless("event: message_start\ndata: ")),
        ("of a comment", true, endless(": ")),
        ("of no field", true, endless("x")),
    ])
    .await;
}

#[actix_web::test]
async fn bogus_chunks_are_no_answer() {
    let bogus = |chunks: &'static str| raw(format!("{JSON_HEAD}{chunks}"));
    check_unusable([
        ("a size beyond 64 bits", false, bogus("ffffffffffffffffff\r\n")),
        ("a negative size", false, bogus("-5\r\nabcde\r\n0\r\n\r\n")),
        ("a size of blanks", false, bogus("    \r\n")),
        ("a size without end", false, bogus("").then(repeat("0".repeat(1000), MANY))),
        ("an extension without end", false, bogus("5;x=").then(repeat("x".repeat(1000), MANY))),
        ("trailers without end", false, bogus("2\r\n{}\r\n0\r\n").then(repeat(LINE, MANY))),
        (
            "a stream's extension without end",
            true,
            raw(format!("{STREAM_HEAD}5;x=")).then(repeat("x".repeat(1000), MANY)),
        ),
    ])
    .await;
}

#[actix_web::test]
async fn a_chunk_that_claims_all_of_memory_is_passed_on_as_it_comes() {
    let claim =
        |head: &str| raw(format!("{head}ffffffffffffffff\r\n")).then(repeat(" ".repeat(BLOCK), GIGABYTE / BLOCK));
    check_passed_on([("an answer", false, claim(JSON_HEAD)), ("a stream", true, claim(STREAM_HEAD))]).await;
}

/// Found with bytes that come each in a chunk of its own: each of them waited in a place of its own, at fifty times its size.
#[actix_web::test]
async fn an_answer_in_chunks_of_a_byte_costs_no_multiple_of_its_length() {
    const LENGTH: usize = 1 << 20;
    let scene = Scene::set("").await;
    let tiny = "1\r\nx\r\n".repeat(1 << 10);
    let body = |begins: &str, ends: &str| {
        let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
        raw(format!("{JSON_HEAD}{}", chunk(begins)))
            .then(repeat(tiny.clone(), LENGTH >> 10))
            .then(raw(format!("{}0\r\n\r\n", chunk(ends))))
    };
    scene.attacked_by(body("{\"type\":\"message\",\"text\":\"", "\"}"));
    let (answer, ()) = futures_util::future::join(scene.answer(false), scene.others_go_on()).await;
    assert_eq!((answer.status, answer.ended, answer.header("x-qcc-endpoint")), (200, Ended::Whole, Some("hostile")));
    assert!(answer.body.len() > LENGTH);
    let growth = scene.growth();
    assert!(growth < 24 << 20, "the gateway grew by {growth} bytes");
}

/// A stream of nothing that lasts keeps its own request, and nobody else's.
#[actix_web::test]
async fn a_stream_of_comments_without_end_holds_nobody_else_up() {
    let scene = Scene::set("").await;
    let comments = format!("{:x}\r\n{}\r\n", 3 * 1000, ":\n\n".repeat(1000));
    scene.attacked_by(raw(STREAM_HEAD).then(repeat(comments, MANY)));
    let mut attacks = Vec::new();
    for _ in 0..3 {
        let mut client = scene.client().await;
        client.send_request("POST", "/v1/messages", &[TRAFFIC], attack(true).as_bytes()).await;
        attacks.push(client);
    }
    for client in &mut attacks {
        client.answer_head().await;
        read_some(client, 1 << 18).await;
        scene.others_go_on().await;
    }
    scene.assert_bounded("comments");
}

/// Of a whole answer in place of a stream each block becomes three events, however little there is in it.
#[actix_web::test]
async fn an_answer_that_would_become_a_hundred_times_its_length_in_events_is_none() {
    let json = format!("{{\"role\":\"assistant\",\"content\":[{}{{}}]}}", "{},".repeat(MANY));
    let answer = status_with(200, &[("content-type", "application/json")], json);
    check_unusable([("an answer of a million blocks", true, answer)]).await;
}
