//! Answers that are compressed although nobody had asked for it: looked into, and passed on decoded.

use std::io::Write;

use serde_json::json;

use crate::support::app::{Setup, TRAFFIC, body};
use crate::support::raw_client::Ended;
use crate::support::streaming::{Pair, STREAM_HEAD};
use crate::support::upstream::step::{hold, raw, status_with};
use crate::support::wire::chunk;

pub(crate) fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn zlib(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// One metablock that is not compressed, and the last, empty one (RFC 7932, section 9.2).
fn brotli(text: &[u8]) -> Vec<u8> {
    let header = (u32::try_from(text.len() - 1).unwrap() << 4) | (1 << 20);
    [&header.to_le_bytes()[..3], text, &[0x03]].concat()
}

pub(crate) fn coded(coding: &str, text: &[u8]) -> Vec<u8> {
    match coding {
        "gzip" => gzip(text),
        "deflate" => zlib(text),
        "br" => brotli(text),
        _ => zstd::encode_all(text, 0).unwrap(),
    }
}

pub(crate) const CODINGS: [&str; 4] = ["gzip", "deflate", "br", "zstd"];
const MESSAGE: &str = r#"{"id":"m","type":"message","role":"assistant","content":[]}"#;

#[actix_web::test]
async fn a_compressed_answer_is_passed_on_decoded() {
    let pair = Pair::serving("/v1/messages").await;
    let app = pair.strict().start().await;
    for coding in CODINGS {
        let headers = [("content-type", "application/json"), ("content-encoding", coding)];
        pair.a.script_traffic([status_with(200, &headers, coded(coding, MESSAGE.as_bytes()))]);
        let answer = app.client().await.post("/v1/messages", &[TRAFFIC], body(false)).await;
        assert_eq!((answer.status, answer.text().as_str(), answer.ended), (200, MESSAGE, Ended::Whole), "{coding}");
        assert_eq!(answer.header("content-encoding"), None);
        assert_eq!(answer.header("content-length"), Some(MESSAGE.len().to_string().as_str()));
    }
    app.finish().await;
}

#[actix_web::test]
async fn a_compressed_error_is_judged_by_what_it_says() {
    let credit = r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the API"}}"#;
    for coding in CODINGS {
        let pair = Pair::serving("/v1/messages").await;
        let app = pair.strict().start().await;
        let headers = [("content-type", "application/json"), ("content-encoding", coding)];
        pair.a.script_traffic([status_with(400, &headers, coded(coding, credit.as_bytes()))]);
        let answer = app.client().await.post("/v1/messages", &[TRAFFIC], body(false)).await;
        assert_eq!((answer.status, answer.header("x-qcc-endpoint")), (200, Some("b")), "{coding}");
        assert_eq!(app.row("a").await["isolated_reason"], "account", "{coding}");
        app.finish().await;
    }
}

#[actix_web::test]
async fn what_can_not_be_decoded_is_a_matter_for_the_next_endpoint() {
    for coding in CODINGS {
        let torn = coded(coding, MESSAGE.repeat(20).as_bytes());
        for (bytes, wanted) in
            [(MESSAGE.as_bytes(), false), (&torn[..torn.len() - 5], false), (MESSAGE.as_bytes(), true)]
        {
            let pair = Pair::serving("/v1/messages").await;
            let app = pair.strict().start().await;
            let headers = [("content-type", "application/json"), ("content-encoding", coding)];
            pair.a.script_traffic([status_with(200, &headers, bytes.to_vec())]);
            let answer = app.client().await.post("/v1/messages", &[TRAFFIC], body(wanted)).await;
            assert_eq!((answer.header("x-qcc-endpoint"), answer.ended), (Some("b"), Ended::Whole), "{coding}");
            assert_eq!(app.row("a").await["isolated_reason"], "body", "{coding}");
            app.finish().await;
        }
    }
}

/// What is small on the wire may be large: it is not held beyond the bound, but passed on as it comes.
#[actix_web::test]
async fn a_bomb_is_passed_on_as_it_comes() {
    let pair = Pair::serving("/v1/messages").await;
    let app = pair.strict().start().await;
    let large = format!(r#"{{"type":"message","text":"{}"}}"#, "x".repeat(12 << 20));
    for coding in ["gzip", "zstd"] {
        let headers = [("content-type", "application/json"), ("content-encoding", coding)];
        pair.a.script_traffic([status_with(200, &headers, coded(coding, large.as_bytes()))]);
        let answer = app.client().await.post("/v1/messages", &[TRAFFIC], body(false)).await;
        assert_eq!((answer.body.len(), answer.ended), (large.len(), Ended::Whole), "{coding}");
        assert_eq!((answer.header("content-length"), answer.header("content-encoding")), (None, None));
    }
    assert_eq!(app.row("a").await["successes"], 2);
    app.finish().await;
}

const OPENING: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{}}\n\n";
const CONTENT: &str = "event: content_block_delta\ndata: {\"delta\":{\"type\":\"text_delta\",\"text\":\"grüße\"}}\n\n";
const CLOSING: &str = "event: message_delta\ndata: {\"delta\":{\"stop_reason\":\"end_turn\"}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

fn stream_head(coding: &str) -> String {
    STREAM_HEAD.replace("\r\n\r\n", &format!("\r\ncontent-encoding: {coding}\r\n\r\n"))
}

/// Found from outside: relays say so lest a proxy hold the stream back, and each counted as a body that could not be read.
#[actix_web::test]
async fn a_coding_that_is_none_hides_nothing() {
    let overloaded = r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#;
    for coding in ["none", "identity", "UTF-8", "chunked"] {
        let pair = Pair::serving("/v1/messages").await;
        let app = pair.strict().start().await;
        let stream = [OPENING, CONTENT, CLOSING].concat();
        let headers = [("content-type", "application/json"), ("content-encoding", coding)];
        pair.a.script_traffic([
            raw([stream_head(coding).into_bytes(), chunk(stream.as_bytes()), b"0\r\n\r\n".to_vec()].concat()),
            status_with(200, &headers, overloaded),
        ]);
        let mut client = app.client().await;
        pair.send(&mut client, &[]).await;
        let answer = client.answer().await;
        assert_eq!((answer.text(), answer.header("content-encoding")), (stream, None), "{coding}");
        let answer = app.client().await.post("/v1/messages", &[TRAFFIC], body(false)).await;
        assert_eq!((answer.status, answer.header("x-qcc-endpoint")), (200, Some("b")), "{coding}");
        app.finish().await;
    }
}

#[actix_web::test]
async fn a_compressed_stream_is_passed_on_event_by_event() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all([OPENING, CONTENT].concat().as_bytes()).unwrap();
    gzip.flush().unwrap();
    let gzip_first = std::mem::take(gzip.get_mut());
    gzip.write_all(CLOSING.as_bytes()).unwrap();
    let gzip_rest = gzip.finish().unwrap();
    let mut zstandard = zstd::Encoder::new(Vec::new(), 0).unwrap();
    zstandard.write_all([OPENING, CONTENT].concat().as_bytes()).unwrap();
    zstandard.flush().unwrap();
    let zstandard_first = std::mem::take(zstandard.get_mut());
    zstandard.write_all(CLOSING.as_bytes()).unwrap();
    let zstandard_rest = zstandard.finish().unwrap();
    for (coding, first, rest) in [("gzip", gzip_first, gzip_rest), ("zstd", zstandard_first, zstandard_rest)] {
        let pair = Pair::serving("/v1/messages").await;
        let app = pair.strict().start().await;
        let last = [chunk(&rest), b"0\r\n\r\n".to_vec()].concat();
        pair.a.script_traffic([raw(stream_head(coding)).then(raw(chunk(&first))).then(hold("rest")).then(raw(last))]);
        let mut client = app.client().await;
        pair.send(&mut client, &[]).await;
        let head = client.answer_head().await;
        assert_eq!((head.status, head.headers.get("content-encoding")), (200, None), "{coding}");
        assert_eq!(client.event().await.unwrap().raw, OPENING);
        assert_eq!(client.event().await.unwrap().raw, CONTENT);
        pair.a.gates().open("rest");
        let rest = client.rest().await;
        assert_eq!((rest.text().as_str(), rest.ended), (CLOSING, Ended::Whole), "{coding}");
        assert_eq!(app.row("a").await["successes"], 1);
        app.finish().await;
    }
}

#[actix_web::test]
async fn a_compressed_stream_that_is_torn_is_a_broken_one() {
    let whole = gzip([OPENING, CONTENT].concat().as_bytes());
    for (bytes, by) in [(&whole[..whole.len() - 4], "a"), (&b"no gzip at all"[..], "b")] {
        let pair = Pair::serving("/v1/messages").await;
        let app = pair.setup(Setup::new()).start().await;
        let wire = [stream_head("gzip").as_bytes(), &chunk(bytes), b"0\r\n\r\n"].concat();
        pair.a.script_traffic([raw(wire)]);
        let answer = pair.ask(&mut app.client().await).await;
        assert_eq!(answer.header("x-qcc-endpoint"), Some(by));
        let last = answer.events().last().unwrap().name.clone();
        assert_eq!(last.as_deref(), Some(if by == "a" { "error" } else { "message_stop" }));
        assert_eq!(app.row("a").await["failures"], json!(1));
        app.finish().await;
    }
}

/// Nobody can tell where such a stream ends.
#[actix_web::test]
async fn a_stream_in_an_unknown_coding_is_a_matter_for_the_next_endpoint() {
    let pair = Pair::serving("/v1/messages").await;
    let app = pair.strict().start().await;
    let wire = [stream_head("compress").as_bytes(), &chunk(b"abc"), b"0\r\n\r\n"].concat();
    pair.a.script_traffic([raw(wire)]);
    let answer = pair.ask(&mut app.client().await).await;
    assert_eq!((answer.header("x-qcc-endpoint"), answer.ended), (Some("b"), Ended::Whole));
    assert_eq!(app.row("a").await["isolated_reason"], "body");
    app.finish().await;
}
