//! Answers that are small on the wire and large when they are unpacked.

use std::io::Write;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};

use super::{Scene, read_some};
use crate::support::app::TRAFFIC;
use crate::support::raw_client::Ended;
use crate::support::streaming::STREAM_HEAD;
use crate::support::upstream::step::{Step, raw, status_with};
use crate::support::wire::chunk;

const CODINGS: [&str; 4] = ["gzip", "deflate", "br", "zstd"];
/// What a bomb unpacks to, in bytes.
const UNPACKED: usize = 64 << 20;

/// 64 MiB of `x` in Brotli's format (RFC 7932), at a ratio of 633,000 to 1.
const BROTLI: &str = "cbffff3ff825f0e2b14020f7fe8fffff7ff04b00c4611180eefd1fffffffe0970088c30200ddfb3ffeffffc12f0110870500ba\
                      f77ffcffff835f02200e0b0074effff8ffff07bf04401c1600e8defff1ffff0f7e0980382c00d0bdffe3ffff1ffc12007158\
                      00a07bff37";

fn bomb(coding: &str) -> Vec<u8> {
    let text = vec![b'x'; UNPACKED];
    match coding {
        "gzip" => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(&text).unwrap();
            encoder.finish().unwrap()
        }
        "deflate" => {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(&text).unwrap();
            encoder.finish().unwrap()
        }
        "br" => hex::decode(BROTLI).unwrap(),
        _ => zstd::encode_all(&*text, 19).unwrap(),
    }
}

fn answer(status: u16, coding: &str, body: Vec<u8>) -> Step {
    status_with(status, &[("content-type", "application/json"), ("content-encoding", coding)], body)
}

#[actix_web::test]
async fn a_bomb_for_an_answer_or_a_stream_is_unpacked_at_the_pace_of_its_client() {
    for coding in CODINGS {
        let bomb = bomb(coding);
        assert!(bomb.len() < UNPACKED / 1000, "{coding}: {} bytes", bomb.len());
        let scene = Scene::set("").await;
        let head = STREAM_HEAD.replace("\r\n\r\n", &format!("\r\ncontent-encoding: {coding}\r\n\r\n"));
        let stream = raw([head.as_bytes(), &chunk(&bomb), b"0\r\n\r\n"].concat());
        for (wanted, step) in [(false, answer(200, coding, bomb)), (true, stream)] {
            scene.attacked_by(step);
            let mut client = scene.ask(wanted).await;
            assert_eq!(client.answer_head().await.status, 200, "{coding}");
            read_some(&mut client, 1 << 20).await;
            scene.others_go_on().await;
            read_some(&mut client, UNPACKED / 2).await;
            drop(client);
        }
        let growth = scene.growth();
        assert!(growth < UNPACKED / 2, "{coding}: the gateway grew by {growth} bytes");
    }
}

#[actix_web::test]
async fn a_bomb_for_an_error_is_given_up() {
    let scene = Scene::set("").await;
    for coding in CODINGS {
        scene.attacked_by(answer(500, coding, bomb(coding)));
        let (answer, ()) = futures_util::future::join(scene.answer(false), scene.others_go_on()).await;
        assert_eq!((answer.status, answer.header("x-qcc-endpoint")), (200, Some("spare")), "{coding}");
        assert_eq!(answer.ended, Ended::Whole);
    }
    let growth = scene.growth();
    assert!(growth < UNPACKED / 2, "the gateway grew by {growth} bytes");
}

/// A window is memory that the sender orders and the reader pays: HTTP allows one of 8 MiB (RFC 9659).
#[actix_web::test]
async fn a_window_larger_than_http_allows_is_a_matter_for_the_next_endpoint() {
    let scene = Scene::set("").await;
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.include_contentsize(false).unwrap();
    encoder.write_all(&vec![b'x'; 1 << 20]).unwrap();
    scene.attacked_by(answer(200, "zstd", encoder.finish().unwrap()));
    let answer = scene.answer(false).await;
    assert_eq!((answer.status, answer.header("x-qcc-endpoint")), (200, Some("spare")));
    scene.assert_bounded("a window of 128 MiB");
}

/// Some of its encoders order up to a gigabyte, for which Brotli has no form (RFC 7932, section 9.1).
#[actix_web::test]
async fn a_window_that_brotli_does_not_have_is_a_matter_for_the_next_endpoint() {
    let scene = Scene::set("").await;
    scene.attacked_by(answer(200, "br", vec![0x11, 0xde, 0, 0]));
    let answer = scene.answer(false).await;
    assert_eq!((answer.status, answer.header("x-qcc-endpoint")), (200, Some("spare")));
}

#[actix_web::test]
async fn a_request_that_is_a_bomb_is_refused() {
    let scene = Scene::set("max_body = \"4MiB\"").await;
    for coding in CODINGS {
        let headers = [TRAFFIC, ("content-encoding", coding)];
        // Before there is a connection: making it takes longer than a head may.
        let bomb = bomb(coding);
        let answer = scene.client().await.post("/v1/messages", &headers, bomb).await;
        assert_eq!(answer.status, 413, "{coding}");
    }
    scene.others_go_on().await;
    let growth = scene.growth();
    assert!(growth < UNPACKED / 2, "the gateway grew by {growth} bytes");
}
