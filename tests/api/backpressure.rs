//! A slow client slows its upstream down, and the gateway's memory stays as it is.

use std::time::Duration;

use futures_util::future::join;
use serde_json::{Value, json};

use crate::support::app::{Setup, TRAFFIC, body};
use crate::support::eventually::{LIMIT, eventually, now};
use crate::support::process::{Process, settings};
use crate::support::raw_client::{Ended, RawClient};
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{OpenStream, Step, hold, ok, raw, sse};

/// A piece's content, in bytes, and how many there are: 500 MB in all.
const PIECE: usize = 50_000;
const PIECES: usize = 10_000;
/// By how much the gateway may grow.
const GROWTH: usize = 64 << 20;

/// The memory that a process has, in bytes (proc(5)).
pub(crate) fn resident(process: u32) -> usize {
    memory(process, "VmRSS:")
}

/// The most memory that a process has had, in bytes.
pub(crate) fn most_resident(process: u32) -> usize {
    memory(process, "VmHWM:")
}

fn memory(process: u32, which: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(which)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// Waits until an upstream can send no more of its flood. Returns how many pieces it has sent.
async fn comes_to_a_stand(upstream: &Upstream) -> usize {
    let (mut sent, mut looks_alike) = (0, 0);
    eventually("the upstream to be stopped", async || {
        let now = upstream.gates().arrived("flood");
        looks_alike = if now == sent && now > 0 { looks_alike + 1 } else { 0 };
        sent = now;
        looks_alike > 50
    })
    .await;
    sent
}

#[cfg(target_os = "linux")]
#[actix_web::test]
async fn half_a_gigabyte_to_a_slow_client_leaves_the_memory_flat() {
    let upstream = Upstream::anthropic("a").await;
    upstream.script([sse(1).flood("flood", PIECES, PIECE).then_end()]);
    upstream.gates().open("flood");
    let gateway = Process::start(settings("", &[&upstream])).await;
    let process = gateway.child.id().unwrap();
    let mut client = RawClient::connect(gateway.address).await;
    let before = resident(process);
    client.send_request("POST", "/v1/messages", &[TRAFFIC], body(true).as_bytes()).await;
    client.answer_head().await;
    // Nobody reads.
    let sent = comes_to_a_stand(&upstream).await;
    assert!(sent * PIECE < GROWTH, "{sent} pieces were sent to a client that reads nothing");
    let mut most = resident(process);
    let mut received = 0;
    let drained = tokio::time::timeout(2 * LIMIT, async {
        let mut looked_at = 0;
        while let Ok(piece) = client.piece().await {
            received += piece.len();
            if received - looked_at > 10 << 20 {
                looked_at = received;
                most = most.max(resident(process));
            }
        }
    });
    drained.await.unwrap();
    assert!(received > PIECE * PIECES, "{received} bytes have come");
    assert!(client.is_reusable(), "the whole of it");
    let growth = most.saturating_sub(before);
    assert!(growth < GROWTH, "the gateway grew by {growth} bytes");
}

/// The longest that nothing may come of a stream, or be taken of it.
const IDLE: Duration = Duration::from_secs(2);

/// How long an upstream says nothing that had not given up, and time to take what it had written before.
const LONG_AFTER: Duration = Duration::from_millis(2500);

/// What a client gets of a stream of which it takes next to nothing for so long, and the stats behind it. The gate `later` opens some
/// time after it was reached.
async fn after_a_pause(stream: Step, pause: Duration, idle: Duration) -> (String, Value) {
    let upstream = Upstream::anthropic("a").await;
    upstream.script([stream]);
    upstream.gates().open("flood");
    let setup = Setup::new().section("timeouts", &format!("stream_idle = \"{}s\"", idle.as_secs()));
    let app = setup.primary(&upstream).start().await;
    let mut client = RawClient::connect_narrow(app.address()).await;
    client.send_request("POST", "/v1/messages", &[TRAFFIC], body(true).as_bytes()).await;
    client.answer_head().await;
    comes_to_a_stand(&upstream).await;
    // The pause itself is what is tested. Whoever takes nothing at all in it is cut off.
    let began = now();
    let mut taken = Vec::new();
    while began.elapsed() < pause {
        taken.extend_from_slice(&client.piece().await.unwrap());
        tokio::time::sleep(IDLE / 20).await;
    }
    let rest = client.rest();
    tokio::pin!(rest);
    let rest = tokio::select! {
        rest = &mut rest => rest,
        () = async {
            upstream.gates().reached("later").await;
            tokio::time::sleep(LONG_AFTER).await;
        } => {
            upstream.gates().open("later");
            rest.await
        }
    };
    let answer = String::from_utf8_lossy(&taken).into_owned() + &rest.text();
    let stats = app.stats().await;
    app.finish().await;
    (answer, stats)
}

/// A client that reads hardly anything for long says nothing about its upstream.
#[actix_web::test]
async fn a_slow_client_is_no_silence_of_the_upstream() {
    let whole = sse(1).flood("flood", 200, PIECE).then_end();
    let (answer, stats) = Box::pin(after_a_pause(whole, IDLE + IDLE / 2, IDLE)).await;
    assert!(answer.ends_with("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"));
    assert_eq!(stats["endpoints"][0]["successes"], 1);
}

/// Whoever can write nothing for long gives up. It was the client that brought it about.
#[actix_web::test]
async fn an_upstream_that_gives_up_on_a_client_that_does_not_read_has_not_failed() {
    let broken = async |stream: Step| {
        let (answer, stats) = Box::pin(after_a_pause(stream, Duration::from_millis(1100), IDLE)).await;
        assert!(!answer.contains("message_stop"), "nobody takes it for whole");
        assert_eq!(stats["failed_requests"], 1);
        stats["endpoints"][0].clone()
    };
    let flood = || sse(1).flood("flood", 200, PIECE);
    let (given_up, silent) = join(broken(flood().then_reset()), broken(flood().then_stall())).await;
    assert_eq!((&given_up["cancelled"], &given_up["failures"]), (&json!(1), &json!(0)));
    assert_eq!((&silent["cancelled"], &silent["failures"]), (&json!(0), &json!(1)), "the client had read on");
}

/// Found from outside: after one pause nothing that went wrong with the answer counted any more.
#[actix_web::test]
async fn an_upstream_that_breaks_off_long_after_a_clients_pause_has_failed_and_so_has_one_that_ends_without_an_end() {
    let broken = async |stream: OpenStream, breaks: fn(OpenStream) -> Step| {
        let stream = breaks(stream.hold("later").more(1));
        let (answer, stats) = Box::pin(after_a_pause(stream, Duration::from_millis(1100), IDLE * 10)).await;
        assert!(!answer.contains("message_stop"), "nobody takes it for whole");
        stats["endpoints"][0].clone()
    };
    let flood = || sse(1).flood("flood", 200, PIECE);
    let (long_after, in_order) =
        join(broken(flood(), OpenStream::then_reset), broken(flood(), OpenStream::then_cut)).await;
    assert_eq!((&long_after["cancelled"], &long_after["failures"]), (&json!(0), &json!(1)));
    assert_eq!((&in_order["cancelled"], &in_order["failures"]), (&json!(0), &json!(1)));
}

/// The time that a client takes to read is not the endpoint's: it neither ends a long answer nor counts against anybody.
#[actix_web::test]
async fn a_slow_client_is_no_time_out_of_the_upstream() {
    const PART: usize = 16 << 20;
    let upstream = Upstream::anthropic("a").await;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", PART + 2);
    let first = [head.into_bytes(), vec![b' '; PART]].concat();
    upstream.script([raw(first).then(hold("rest")).then(raw("{}"))]);
    let setup = Setup::new().section("timeouts", "response = \"2s\"");
    let app = setup.primary(&upstream).start().await;
    let mut client = RawClient::connect_narrow(app.address()).await;
    client.send_request("POST", "/v1/messages", &[TRAFFIC], body(false).as_bytes()).await;
    client.answer_head().await;
    // The pause itself is what is tested.
    tokio::time::sleep(Duration::from_millis(2200)).await;
    let mut received = 0;
    while received < PART {
        received += client.piece().await.unwrap().len();
    }
    upstream.gates().open("rest");
    let rest = client.rest().await;
    assert_eq!((rest.ended, rest.text().as_str()), (Ended::Whole, "{}"));
    let row = app.row("a").await;
    assert_eq!((&row["successes"], &row["failures"]), (&json!(1), &json!(0)));
    app.finish().await;
}

/// Found with an endpoint that had one place only: minutes later it was still taken, and everybody else got 503.
#[actix_web::test]
async fn a_client_that_takes_nothing_is_cut_off_and_its_place_at_the_endpoint_is_free() {
    let upstream = Upstream::anthropic("a").await;
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 33554432\r\n\r\n";
    let plain = raw([head.as_bytes(), &vec![b' '; 32 << 20]].concat());
    for (wanted, step) in [(true, sse(1).flood("flood", PIECES, PIECE).then_end()), (false, plain)] {
        upstream.script([step]);
        upstream.gates().open("flood");
        let timeouts = Setup::new().section("timeouts", "stream_idle = \"500ms\"");
        let app = timeouts.endpoint("a", &upstream.base_url(), "max_in_flight = 1").start().await;
        let mut client = RawClient::connect_narrow(app.address()).await;
        client.send_request("POST", "/v1/messages", &[TRAFFIC], body(wanted).as_bytes()).await;
        client.answer_head().await;
        upstream.script([ok()]);
        assert_eq!(app.client().await.post("/v1/messages", &[TRAFFIC], body(false)).await.status, 200);
        let rest = client.rest().await;
        assert_eq!(rest.ended, Ended::Reset);
        let (stats, row) = (app.stats().await, app.row("a").await);
        assert_eq!((&stats["cancelled_requests"], &stats["failed_requests"]), (&json!(1), &json!(0)));
        assert_eq!((&row["cancelled"], &row["failures"], &row["in_flight"]), (&json!(1), &json!(0), &json!(0)));
        app.finish().await;
    }
}

/// Once wrong: it was waited for as one that is slow.
#[actix_web::test]
async fn a_client_that_closes_its_side_and_takes_nothing_has_left_at_once() {
    let upstream = Upstream::anthropic("a").await;
    upstream.script([sse(1).flood("flood", PIECES, PIECE).then_end()]);
    upstream.gates().open("flood");
    let app = Setup::new().endpoint("a", &upstream.base_url(), "max_in_flight = 1").start().await;
    let mut client = RawClient::connect_narrow(app.address()).await;
    client.send_request("POST", "/v1/messages", &[TRAFFIC], body(true).as_bytes()).await;
    client.answer_head().await;
    client.half_close().await;
    eventually("its place", async || app.row("a").await["in_flight"] == json!(0)).await;
    assert_eq!(app.row("a").await["cancelled"], json!(1));
    app.finish().await;
}
