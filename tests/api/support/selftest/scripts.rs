//! Which step a request gets, what is recorded of it, and gates.

use bytes::Bytes;

use super::{CHAT, MESSAGES, RESPONSES, TRAFFIC, asking, client_of, streamed, verification};
use crate::support::eventually::eventually;
use crate::support::gates::Gates;
use crate::support::load;
use crate::support::raw_client::{Ended, RawClient};
use crate::support::upstream::Upstream;
use crate::support::upstream::dialect::Protocol;
use crate::support::upstream::record::Exchange;
use crate::support::upstream::step::{Behaviour, close, hold, ok, raw, sse, status};
use crate::support::wire::chunk;

#[actix_web::test]
async fn a_request_is_recorded_to_the_byte() {
    let up = Upstream::anthropic("a").await;
    assert_eq!((up.name(), up.base_url()), ("a", format!("http://{}", up.address())));
    let mut client = client_of(&up).await;
    let body: Vec<u8> = (0..=255).collect();
    let headers = [("X-Traffic", "7"), ("x-b", "2"), ("X-A", "1"), ("x-b", "3")];
    assert_eq!(client.post("/v1//messages/%2e?a=%20&b", &headers, &body).await.status, 200);

    client.send(b"PUT /chunks HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n").await;
    for piece in [b"one ".as_slice(), b"two", b""] {
        client.send(&chunk(piece)).await;
    }
    assert_eq!(client.answer().await.status, 200);
    let mut other = client_of(&up).await;
    other.get("/", &[]).await;

    let [first, second, third] = up.requests().try_into().unwrap();
    assert_eq!((first.method.as_str(), first.target.as_str()), ("POST", "/v1//messages/%2e?a=%20&b"));
    let names: Vec<_> = first.headers.0.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["host", "X-Traffic", "x-b", "X-A", "x-b", "content-length"]);
    assert_eq!((first.header("x-a"), first.headers.all("X-B")), (Some("1"), vec!["2", "3"]));
    assert_eq!((first.body.as_ref(), first.chunked), (body.as_slice(), false));
    assert_eq!((second.body.as_ref(), second.chunked), (b"one two".as_slice(), true));
    assert_eq!([first.connection, second.connection, third.connection], [0, 0, 1]);
    assert_eq!([first.number, second.number, third.number], [0, 1, 2]);
    assert_eq!(first.over().await, Exchange::Answered);
}

#[actix_web::test]
async fn a_sorts_own_script_comes_before_the_common_one_and_that_before_the_behaviour() {
    let up = Upstream::anthropic("a").await;
    up.behave(Behaviour::honest().traffic(status(504)).verifications(status(403)));
    up.script([status(500)]);
    up.script_traffic([status(502)]);
    up.script_verifications([status(401)]);
    let mut client = client_of(&up).await;
    let mut statuses = Vec::new();
    for _ in 0..2 {
        statuses.push(client.post(MESSAGES, &[], verification()).await.status);
    }
    for _ in 0..2 {
        statuses.push(client.post(MESSAGES, &TRAFFIC, verification()).await.status);
    }
    assert_eq!(statuses, [401, 500, 502, 504]);
    assert_eq!((up.verification_requests().len(), up.traffic_requests().len()), (2, 2));

    up.behave(Behaviour::always(status(529)));
    assert_eq!(client.post(MESSAGES, &[], verification()).await.status, 529);
    up.mend();
    assert_eq!(client.post(MESSAGES, &[], verification()).await.status, 200);
}

#[actix_web::test]
async fn verifications_can_be_recognised_in_another_way() {
    let up = Upstream::anthropic("a").await;
    up.recognise_verifications(|request| request.target == "/check");
    let mut client = client_of(&up).await;
    client.get("/check", &TRAFFIC).await;
    client.post(MESSAGES, &[], verification()).await;
    assert_eq!((up.verifications(), up.traffic()), (1, 1));
}

#[actix_web::test]
async fn a_held_answer_waits_for_its_gate() {
    let gates = Gates::default();
    let up = Upstream::start("a", Protocol::Anthropic, &gates).await;
    let other = Upstream::start("b", Protocol::OpenAi, &gates).await;
    up.script([hold("g1").then(status(503))]);
    other.script([hold("g1").then(ok())]);
    let (mut client, mut second) = (client_of(&up).await, client_of(&other).await);
    client.send_request("GET", "/", &TRAFFIC, b"").await;
    gates.reached("g1").await;
    second.send_request("GET", "/", &TRAFFIC, b"").await;
    gates.reached_by("g1", 2).await;
    assert_eq!(up.received(1).await.exchange(), Exchange::Answering);
    up.gates().open("g1");
    assert_eq!((client.answer().await.status, second.answer().await.status), (503, 200));
}

#[actix_web::test]
async fn a_stream_can_be_held_in_its_middle_and_read_event_by_event() {
    let up = Upstream::anthropic("a").await;
    up.script([sse(2).hold("middle").more(1).bytes(": quiet\n\n").finished().then_cut()]);
    let mut client = client_of(&up).await;
    client.send_request("POST", MESSAGES, &TRAFFIC, streamed(asking("Hello")).as_bytes()).await;
    assert_eq!(client.answer_head().await.status, 200);
    let mut names = Vec::new();
    for _ in 0..5 {
        names.push(client.event().await.unwrap().name.unwrap());
    }
    assert_eq!(names, ["message_start", "content_block_start", "ping", "content_block_delta", "content_block_delta"]);
    up.gates().reached("middle").await;
    up.gates().open("middle");
    assert_eq!(client.event().await.unwrap().name.as_deref(), Some("content_block_delta"));
    assert_eq!(client.event().await.unwrap().raw, Bytes::from_static(b": quiet\n\n"));
    let last = client.rest().await;
    assert_eq!(last.ended, Ended::Whole);
    assert_eq!(last.events().last().unwrap().name.as_deref(), Some("message_delta"));
    assert!(client.is_reusable());
}

#[actix_web::test]
async fn a_stream_can_fail_in_its_protocols_way() {
    let up = Upstream::anthropic("a").await;
    let cases = [
        (MESSAGES, Some("error"), "/error/type"),
        (CHAT, None, "/error/type"),
        (RESPONSES, Some("response.failed"), "/response/error/code"),
    ];
    let mut client = client_of(&up).await;
    for (target, name, pointer) in cases {
        up.script([sse(0).then_error("overloaded_error")]);
        let answer = client.post(target, &TRAFFIC, streamed(asking("Hello"))).await;
        let last = answer.events().pop().unwrap();
        let data: serde_json::Value = serde_json::from_str(&last.data).unwrap();
        assert_eq!(last.name.as_deref(), name, "{target}");
        assert_eq!(data.pointer(pointer).and_then(|kind| kind.as_str()), Some("overloaded_error"), "{target}");
    }
}

#[actix_web::test]
async fn interim_answers_are_told_apart_from_the_final_one() {
    let up = Upstream::anthropic("a").await;
    let hint = raw("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n");
    up.script([hint.then(hold("later")).then(ok())]);
    let mut client = client_of(&up).await;
    client.send_request("GET", "/", &TRAFFIC, b"").await;
    up.gates().reached("later").await;
    up.gates().open("later");
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.interim), (200, vec![103]));
}

#[actix_web::test]
async fn raw_bytes_can_end_with_the_connection() {
    let up = Upstream::anthropic("a").await;
    up.script([
        raw("HTTP/1.0 200 OK\r\n\r\nall of it").then(close()),
        raw("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"),
    ]);
    let mut client = client_of(&up).await;
    let answer = client.get("/", &TRAFFIC).await;
    assert_eq!((answer.text().as_str(), answer.ended, client.is_reusable()), ("all of it", Ended::Whole, false));
    let mut client = client_of(&up).await;
    assert_eq!(client.get("/", &TRAFFIC).await.text(), "hi");
    assert!(client.is_reusable());
}

#[actix_web::test]
async fn load_is_closed_loop_over_kept_connections_and_counts_what_came() {
    let up = Upstream::anthropic("a").await;
    up.script([hold("all").then(status(500)), hold("all").then(close()), hold("all").then(ok())]);
    let opening = async {
        up.gates().reached_by("all", 3).await;
        assert_eq!(up.total(), 3);
        up.gates().open("all");
    };
    let exchange = async |index: usize, client: &mut RawClient| {
        let number = index.to_string();
        client.try_post(MESSAGES, &[("x-traffic", &number)], "{}").await
    };
    let (load, ()) = tokio::join!(load::run(up.address(), 50, 3, exchange), opening);
    assert_eq!(load.statuses(), [(200, 48), (500, 1)].into());
    assert_eq!(load.endpoints(), [("a".to_owned(), 49)].into());
    assert_eq!((load.broken(), load.outcomes.len(), up.total(), up.connections()), (1, 50, 50, 4));
}

#[actix_web::test]
async fn eventually_returns_what_it_has_found() {
    let up = Upstream::anthropic("a").await;
    let mut client = client_of(&up).await;
    client.send_request("GET", "/", &TRAFFIC, b"").await;
    eventually("a request has come", async || up.total() == 1).await;
    let target = eventually("the first request", async || Some(up.requests().first()?.target.clone())).await;
    assert_eq!(target, "/");
}

#[actix_web::test]
async fn requests_sent_at_once_are_answered_in_turn() {
    let up = Upstream::anthropic("a").await;
    up.script([hold("first").then(status(500)), ok()]);
    let mut client = client_of(&up).await;
    client.send(b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nGET /").await;
    up.gates().reached("first").await;
    client.send(b"3 HTTP/1.1\r\n\r\n").await;
    up.gates().open("first");
    let statuses = [client.answer().await.status, client.answer().await.status, client.answer().await.status];
    assert_eq!(statuses, [500, 200, 200]);
    let targets: Vec<_> = up.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(targets, ["/1", "/2", "/3"]);
}

#[actix_web::test]
async fn events_are_told_apart_whatever_their_line_ends_and_wherever_they_are_cut() {
    let up = Upstream::anthropic("a").await;
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    let events = "event: x\r\ndata: 1\r\ndata:2\r\n\r\ndata: gr\u{fc}n\n\n: comment\n\ntorn";
    let (first, second) = events.as_bytes().split_at(events.find('\u{fc}').unwrap() + 1);
    up.script([raw(head).then(raw(first.to_vec())).then(hold("cut")).then(raw(second.to_vec())).then(close())]);
    let mut client = client_of(&up).await;
    client.send_request("GET", "/", &TRAFFIC, b"").await;
    client.answer_head().await;
    let named = client.event().await.unwrap();
    assert_eq!((named.name.as_deref(), named.data.as_str()), (Some("x"), "1\n2"));
    up.gates().reached("cut").await;
    up.gates().open("cut");
    assert_eq!(client.event().await.unwrap().data, "gr\u{fc}n");
    assert_eq!(client.event().await.unwrap().data, "");
    assert_eq!(client.event().await.unwrap_err(), Ended::Whole);
    assert_eq!(client.torn(), b"torn");
}
