//! How connections end, from either side.

use super::{MESSAGES, TRAFFIC, asking, client_of, streamed};
use crate::support::raw_client::{Ended, RawClient};
use crate::support::upstream::Upstream;
use crate::support::upstream::record::Exchange;
use crate::support::upstream::step::{
    Behaviour, Step, accept_and_close, close, hold, never_answer, raw, reset, sse, status, truncate,
};

#[actix_web::test]
async fn an_answer_that_breaks_off_is_seen_as_it_was_broken_off() {
    let up = Upstream::anthropic("a").await;
    let cases: [(Step, Ended); 6] = [
        (truncate(), Ended::Truncated),
        (sse(3).then_close(), Ended::Truncated),
        (sse(3).then_reset(), Ended::Reset),
        (sse(3).then_cut(), Ended::Whole),
        (sse(3).then_end(), Ended::Whole),
        (raw("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel").then(close()), Ended::Truncated),
    ];
    for (step, expected) in cases {
        let shown = format!("{step:?}");
        up.script([step]);
        let answer = client_of(&up).await.post(MESSAGES, &TRAFFIC, streamed(asking("Hello"))).await;
        assert_eq!((answer.status, answer.ended), (200, expected), "{shown}");
        assert!(!answer.body.is_empty(), "{shown}");
    }
}

#[actix_web::test]
async fn no_answer_at_all_is_told_apart_by_how_the_connection_ends() {
    let up = Upstream::anthropic("a").await;
    for (step, expected) in [(close(), Ended::Truncated), (reset(), Ended::Reset)] {
        up.script([step]);
        let outcome = client_of(&up).await.try_post(MESSAGES, &TRAFFIC, "{}").await;
        assert_eq!(outcome.unwrap_err(), expected);
    }
    assert_eq!(up.total(), 2);
}

#[actix_web::test]
async fn a_connection_can_be_closed_before_any_request_is_read() {
    let up = Upstream::anthropic("a").await;
    let mut kept = client_of(&up).await;
    kept.get("/", &TRAFFIC).await;
    up.script([accept_and_close()]);
    assert_eq!(client_of(&up).await.ended().await, Ended::Truncated);
    assert_eq!((up.total(), up.connections()), (1, 2));

    up.behave(Behaviour::always(accept_and_close()));
    assert_eq!(client_of(&up).await.ended().await, Ended::Truncated);
    assert!(kept.try_post("/", &TRAFFIC, "").await.is_err());
    assert_eq!((up.total(), up.connections()), (2, 3));
}

#[actix_web::test]
async fn a_connection_is_closed_where_the_request_says_so() {
    let up = Upstream::anthropic("a").await;
    let mut client = client_of(&up).await;
    assert_eq!(client.get("/", &[("connection", "close")]).await.status, 200);
    assert_eq!(client.ended().await, Ended::Truncated);
}

#[actix_web::test]
async fn a_peer_that_leaves_while_an_answer_is_under_way_is_noticed() {
    let up = Upstream::anthropic("a").await;
    let steps = [never_answer(), hold("never"), sse(3).then_stall()];
    for (index, step) in steps.into_iter().enumerate() {
        up.script([step.clone(), step]);
        let mut orderly = client_of(&up).await;
        orderly.send_request("POST", MESSAGES, &TRAFFIC, b"{}").await;
        let request = up.received(2 * index + 1).await;
        assert_eq!(request.exchange(), Exchange::Answering);
        drop(orderly);
        request.closed_by_peer().await;

        let mut abrupt = client_of(&up).await;
        abrupt.send_request("POST", MESSAGES, &TRAFFIC, b"{}").await;
        let request = up.received(2 * index + 2).await;
        abrupt.hang_up();
        request.closed_by_peer().await;
    }
}

#[actix_web::test]
async fn a_half_closed_connection_counts_as_left() {
    let up = Upstream::anthropic("a").await;
    up.script([never_answer()]);
    let mut client = client_of(&up).await;
    client.send_request("GET", "/", &TRAFFIC, b"").await;
    let request = up.received(1).await;
    client.half_close().await;
    request.closed_by_peer().await;
    assert_eq!(client.ended().await, Ended::Truncated);
}

#[actix_web::test]
async fn a_reader_that_stalls_is_felt_and_what_it_left_can_still_be_read() {
    let up = Upstream::anthropic("a").await;
    let flood = vec![b' '; 16 << 20];
    up.script([sse(1).bytes(flood.clone()).hold("written").then_end()]);
    let mut client = RawClient::connect_narrow(up.address()).await;
    client.send_request("POST", MESSAGES, &TRAFFIC, b"{}").await;
    assert_eq!(client.answer_head().await.status, 200);
    assert!(client.event().await.unwrap().raw.starts_with(b"event: message_start"));
    // What the reader has not taken is more than all buffers hold, so the upstream is still writing.
    assert_eq!(up.gates().arrived("written"), 0);
    up.gates().open("written");
    let answer = client.rest().await;
    assert_eq!(answer.ended, Ended::Whole);
    assert!(answer.body.len() > flood.len());
    assert_eq!(up.gates().arrived("written"), 1);
}

#[actix_web::test]
async fn a_torn_event_is_kept_apart_from_the_whole_ones() {
    let up = Upstream::anthropic("a").await;
    up.script([sse(0).bytes("event: content_bl").then_reset()]);
    let mut client = client_of(&up).await;
    client.send_request("POST", MESSAGES, &TRAFFIC, b"{}").await;
    client.answer_head().await;
    for _ in 0..3 {
        client.event().await.unwrap();
    }
    assert_eq!(client.event().await.unwrap_err(), Ended::Reset);
    assert_eq!(client.torn(), b"event: content_bl");
}

#[actix_web::test]
async fn an_upstream_that_is_down_refuses_and_comes_back_on_its_port() {
    let up = Upstream::anthropic("a").await;
    let mut kept = client_of(&up).await;
    kept.get("/", &TRAFFIC).await;
    for _ in 0..3 {
        up.down().await;
        up.down().await;
        assert!(RawClient::is_refused(up.address()).await);
        up.up();
        up.up();
        assert_eq!(client_of(&up).await.get("/", &TRAFFIC).await.status, 200);
    }
    assert_eq!(kept.ended().await, Ended::Truncated);
    up.down().await;
    up.mend();
    assert_eq!(client_of(&up).await.get("/", &TRAFFIC).await.status, 200);
}

#[actix_web::test]
async fn an_answer_under_way_is_broken_off_when_the_upstream_goes_down() {
    let up = Upstream::anthropic("a").await;
    up.script([never_answer()]);
    let mut client = client_of(&up).await;
    client.send_request("GET", "/", &TRAFFIC, b"").await;
    let request = up.received(1).await;
    up.down().await;
    assert_eq!(request.over().await, Exchange::Broken);
    assert_eq!(client.ended().await, Ended::Truncated);
}

#[actix_web::test]
async fn a_dropped_upstream_closes_its_sockets() {
    let up = Upstream::anthropic("a").await;
    let address = up.address();
    let mut client = client_of(&up).await;
    client.get("/", &TRAFFIC).await;
    drop(up);
    assert_eq!(client.ended().await, Ended::Truncated);
    assert!(RawClient::is_refused(address).await);
}

#[actix_web::test]
async fn an_answer_can_come_before_the_body_and_the_rest_is_never_read() {
    let up = Upstream::anthropic("a").await;
    up.script_before_body([status(413), status(413).then(close())]);
    let head = b"POST /v1/messages HTTP/1.1\r\nx-traffic: 1\r\ncontent-length: 1000000\r\n\r\n";

    let mut client = client_of(&up).await;
    client.send(head).await;
    assert_eq!(client.answer().await.status, 413);

    let mut client = client_of(&up).await;
    client.send(&[head.as_slice(), &[b' '; 1000]].concat()).await;
    assert_eq!(client.answer().await.status, 413);
    assert_eq!(client.ended().await, Ended::Reset);
    assert_eq!((up.total(), up.requests()[0].body.len()), (2, 0));
}

#[actix_web::test]
async fn a_request_that_cannot_be_read_is_a_fault() {
    let cases: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ];
    let up = Upstream::anthropic("a").await;
    for request in cases {
        let mut client = client_of(&up).await;
        client.send(request).await;
        client.ended().await;
        let shown = String::from_utf8_lossy(request);
        assert_eq!((up.take_faults().len(), up.total()), (1, 0), "{shown}");
    }
}

#[actix_web::test]
async fn half_a_request_is_neither_recorded_nor_a_fault() {
    let up = Upstream::anthropic("a").await;
    let mut client = client_of(&up).await;
    client.send(b"POST / HTTP/1.1\r\ncontent-length: 10\r\n\r\nhalf").await;
    client.half_close().await;
    assert_eq!(client.ended().await, Ended::Truncated);
    assert_eq!((up.total(), up.take_faults().len()), (0, 0));
}
