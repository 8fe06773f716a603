//! JSON that is too deep, too broad, ambiguous or no text, in requests and in answers.

use serde_json::json;

use super::{Scene, attack};
use crate::support::app::TRAFFIC;
use crate::support::raw_client::Ended;
use crate::support::streaming::STREAM_HEAD;
use crate::support::upstream::step::{raw, status_with};
use crate::support::wire::chunk;

fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

fn nested_objects(depth: usize) -> String {
    format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth))
}

fn broad(keys: usize) -> String {
    let members: Vec<String> = (0..keys).map(|key| format!("\"{key:x}\":0")).collect();
    format!("{{{}}}", members.join(","))
}

/// Values that take parsers to their limits.
fn bombs() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("lists of lists", nested(100_000).into_bytes()),
        ("objects in objects", nested_objects(100_000).into_bytes()),
        ("a million members", broad(1_000_000).into_bytes()),
        ("a number of a million digits", "9".repeat(1_000_000).into_bytes()),
        ("a number beyond every float", b"1e999999999".to_vec()),
        ("bytes that are no text", b"\"\xff\xfe\xc0\x80\"".to_vec()),
        ("half a pair", br#""\ud800""#.to_vec()),
        ("a NUL and line ends", br#""\u0000\r\n\u2028""#.to_vec()),
    ]
}

/// The gateway reads of a body what it needs, and judges nothing: that is the endpoint's affair.
#[actix_web::test]
async fn a_request_with_a_bomb_in_it_arrives_to_the_byte() {
    let scene = Scene::set("").await;
    for path in ["/v1/messages", "/v1/messages/count_tokens"] {
        for (what, bomb) in bombs() {
            let body = [b"{\"messages\":", &*bomb, b",\"model\":\"m\",\"x\":", &*bomb, b"}"].concat();
            let came = scene.hostile.total();
            let mut client = scene.client().await;
            let (answer, ()) =
                futures_util::future::join(client.post(path, &[TRAFFIC], &body), scene.others_go_on()).await;
            assert_eq!(answer.status, 200, "{what}");
            let arrived = scene.hostile.requests().into_iter().skip(came).any(|request| request.body == body);
            assert!(arrived, "{what}");
        }
    }
    scene.assert_bounded("bombs in requests");
}

#[actix_web::test]
async fn of_duplicate_members_the_last_counts_here_as_at_the_endpoint() {
    let scene = Scene::set("").await;
    for (members, is_stream) in [
        (r#""stream":true,"stream":false"#, false),
        (r#""stream":false,"stream":true"#, true),
        (r#""stream":true,"stream":null"#, false),
        (r#""stream":true,"str\u0065am":false"#, false),
    ] {
        let body = format!(r#"{{"model":"a","messages":[],{members},"model":"claude-haiku-4-5"}}"#);
        let answer = scene.client().await.post("/v1/messages", &[TRAFFIC], body).await;
        let kind = answer.header("content-type").unwrap().starts_with("text/event-stream");
        assert_eq!((answer.status, kind, answer.ended), (200, is_stream, Ended::Whole), "{members}");
    }
}

/// Found with a body of nothing but models: each was noted, and written anew in the endpoint's own name.
#[actix_web::test]
async fn a_body_of_nothing_but_models_is_refused() {
    let scene =
        Scene::set("[endpoints.hostile.model_map]\nm = \"a-name-that-is-far-longer-than-the-one-it-stands-for\"").await;
    let many = |count| "\"model\":\"m\",".repeat(count);
    let in_two_cases = "\"model\":\"m\",\"Model\":\"dearer\",".to_owned();
    for (models, status) in [(many(2), 200), (many(65), 400), (many(1_000_000), 400), (in_two_cases, 400)] {
        let (body, count) = (format!("{{{models}\"x\":1}}"), models.len());
        let answer = scene.client().await.post("/v1/messages", &[TRAFFIC], body).await;
        assert_eq!(answer.status, status, "{count}");
        if status == 400 {
            assert_eq!(answer.json()["error"]["type"], "invalid_request_error");
        }
    }
    scene.others_go_on().await;
    scene.assert_bounded("models");
}

#[actix_web::test]
async fn an_answer_with_a_bomb_in_it_is_passed_on_to_the_byte() {
    let scene = Scene::set("").await;
    let json = [("content-type", "application/json")];
    for (what, bomb) in bombs() {
        // Those that hold no more than is held are looked into; the larger ones are passed on as they come.
        let body = [b"{\"type\":\"message\",\"content\":", &*bomb, b"}"].concat();
        scene.attacked_by(status_with(200, &json, body.clone()));
        let (answer, ()) = futures_util::future::join(scene.answer(false), scene.others_go_on()).await;
        assert_eq!((answer.status, answer.ended, answer.body == body), (200, Ended::Whole, true), "{what}");
    }
    scene.assert_bounded("bombs in answers");
}

#[actix_web::test]
async fn an_error_with_a_bomb_in_it_is_judged_by_what_else_it_says() {
    let scene = Scene::set("").await;
    let json = [("content-type", "application/json")];
    for (what, bomb) in bombs() {
        let is_text = std::str::from_utf8(&bomb).is_ok();
        let body =
            [br#"{"type":"error","error":{"type":"invalid_request_error","message":"no","x":"#, &*bomb, b"}}"].concat();
        scene.attacked_by(status_with(400, &json, body.clone()));
        let answer = scene.answer(false).await;
        // What is no text is no JSON, and then no error of the protocol's.
        let by = if is_text { (400, Some("hostile")) } else { (200, Some("spare")) };
        assert_eq!((answer.status, answer.header("x-qcc-endpoint")), by, "{what}");
    }
    scene.assert_bounded("bombs in errors");
}

#[actix_web::test]
async fn a_stream_with_a_bomb_in_an_event_is_passed_on_to_the_byte() {
    let scene = Scene::set("").await;
    for (what, bomb) in bombs() {
        let line_ends = bomb.contains(&b'\n');
        assert!(!line_ends, "{what} would be several lines");
        let events = [
            &b"event: message_start\ndata: {\"type\":\"message_start\",\"message\":{}}\n\n"[..],
            b"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":",
            &bomb,
            b"}}\n\nevent: message_delta\ndata: {\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n",
            b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
        ]
        .concat();
        scene.attacked_by(raw([STREAM_HEAD.as_bytes(), &chunk(&events), b"0\r\n\r\n"].concat()));
        let (answer, ()) = futures_util::future::join(scene.answer(true), scene.others_go_on()).await;
        assert_eq!((answer.status, answer.ended, answer.body == events), (200, Ended::Whole, true), "{what}");
        assert_eq!(answer.header("x-qcc-endpoint"), Some("hostile"), "{what}");
    }
    scene.assert_bounded("bombs in events");
}

/// Found with a chat of a thousand finished choices: each further event compared all of them with each other.
#[actix_web::test]
async fn events_of_very_many_choices_hold_nobody_up() {
    let upstream = crate::support::upstream::Upstream::openai("a").await;
    let app =
        crate::support::app::Setup::new().endpoint("a", &upstream.base_url(), "protocol = \"openai\"").start().await;
    let choices: Vec<_> = (0..1024)
        .map(|index| json!({ "index": index, "delta": { "content": "x" }, "finish_reason": "stop" }))
        .collect();
    let finished = format!("data: {}\n\n", json!({ "choices": choices }));
    let empty = "data: {\"choices\":[],\"finish_reason\":0}\n\n".repeat(20_000);
    let events = [finished.as_str(), &empty, "data: [DONE]\n\n"].concat();
    upstream.answers_to("attack", raw([STREAM_HEAD.as_bytes(), &chunk(events.as_bytes()), b"0\r\n\r\n"].concat()));
    let answer = app.client().await.post("/v1/chat/completions", &[TRAFFIC], attack(true)).await;
    assert_eq!((answer.status, answer.ended, answer.body.len()), (200, Ended::Whole, events.len()));
    app.finish().await;
}
