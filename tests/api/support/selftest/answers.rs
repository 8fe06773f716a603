//! What the answers look like.

use serde_json::{Value, json};

use super::{CHAT, MESSAGES, RESPONSES, TRAFFIC, asking, client_of, streamed, verification};
use crate::support::raw_client::{Answer, Ended};
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{
    Step, echo, empty, error, html, ok, says, sse, status, status_and, status_with, wrong_code,
};

#[actix_web::test]
async fn every_path_is_answered_in_its_own_form() {
    let up = Upstream::anthropic("a").await;
    let cases = [
        (MESSAGES, "/content/0/text", json!("answered by a")),
        ("/v1/messages?beta=true", "/id", json!("msg_a_1")),
        ("/v1/messages/count_tokens", "/input_tokens", json!(5)),
        (CHAT, "/choices/0/message/content", json!("answered by a")),
        ("/v1/completions", "/choices/0/text", json!("answered by a")),
        (RESPONSES, "/output/0/content/0/text", json!("answered by a")),
        ("/v1/embeddings", "/data/0/embedding/1", json!(-0.5)),
        ("/v1/models", "/data/0/owned_by", json!("a")),
        ("/v1/files/f%2F1?x=%20", "/target", json!("/v1/files/f%2F1?x=%20")),
    ];
    let mut client = client_of(&up).await;
    for (target, pointer, expected) in cases {
        let answer = client.post(target, &TRAFFIC, asking("Hello").to_string()).await;
        assert_eq!((answer.status, answer.ended), (200, Ended::Whole), "{target}");
        assert_eq!(answer.json().pointer(pointer), Some(&expected), "{target}");
        assert_eq!(answer.header("X-Upstream"), Some("a"), "{target}");
    }
    assert_eq!(up.connections(), 1);
}

/// The texts of a stream's pieces, and the last event's type or data.
fn read_stream(answer: &Answer) -> (String, String) {
    let events = answer.events();
    let texts = events.iter().filter_map(|event| serde_json::from_str::<Value>(&event.data).ok());
    let pointers = ["/delta/text", "/choices/0/delta/content", "/choices/0/text", "/delta"];
    let text_of = |data: Value| pointers.iter().find_map(|pointer| data.pointer(pointer)?.as_str().map(str::to_owned));
    let last = events.last().unwrap();
    (texts.filter_map(text_of).collect(), last.name.clone().unwrap_or_else(|| last.data.clone()))
}

#[actix_web::test]
async fn a_stream_is_whole_and_closed_by_its_protocols_closing_event() {
    let up = Upstream::openai("b").await;
    let cases = [
        (MESSAGES, "message_stop"),
        (CHAT, "[DONE]"),
        ("/v1/completions", "[DONE]"),
        (RESPONSES, "response.completed"),
    ];
    let mut client = client_of(&up).await;
    for (target, closing) in cases {
        let answer = client.post(target, &TRAFFIC, streamed(asking("Hello"))).await;
        assert_eq!(read_stream(&answer), ("answered by b".to_owned(), closing.to_owned()), "{target}");
        assert_eq!(answer.ended, Ended::Whole, "{target}");
        assert!(answer.header("content-type").unwrap().starts_with("text/event-stream"), "{target}");
    }
}

#[actix_web::test]
async fn a_named_event_has_its_name_as_type_and_numbers_run_on() {
    let up = Upstream::openai("b").await;
    let mut client = client_of(&up).await;
    for target in [MESSAGES, RESPONSES] {
        let answer = client.post(target, &TRAFFIC, streamed(asking("Hello"))).await;
        for (number, event) in answer.events().iter().enumerate() {
            let data: Value = serde_json::from_str(&event.data).unwrap();
            assert_eq!(data["type"].as_str(), event.name.as_deref());
            if target == RESPONSES {
                assert_eq!(data["sequence_number"], json!(number));
            }
        }
    }
}

#[actix_web::test]
async fn usage_comes_in_a_chunk_of_its_own_where_it_is_asked_for() {
    let up = Upstream::openai("b").await;
    let mut body = asking("Hello");
    body["stream_options"] = json!({"include_usage": true});
    let answer = client_of(&up).await.post(CHAT, &TRAFFIC, streamed(body)).await;
    let events = answer.events();
    let usage: Value = serde_json::from_str(&events[events.len() - 2].data).unwrap();
    assert_eq!((&usage["choices"], &usage["usage"]["total_tokens"]), (&json!([]), &json!(43)));
}

#[actix_web::test]
async fn a_verification_gets_its_code_or_what_the_script_says() {
    let up = Upstream::anthropic("a").await;
    let question = "Here are two halves of a code, X7K and then 2QM. Write them joined.";
    let cases: [(Step, &str); 5] =
        [(ok(), "X7K2QM"), (wrong_code(), "ZZZZZZ"), (echo(), question), (says("no"), "no"), (sse(9).then_end(), "")];
    let mut client = client_of(&up).await;
    for (step, expected) in cases {
        up.script([step]);
        let answer = client.post(MESSAGES, &[], verification()).await;
        assert_eq!(answer.status, 200);
        if expected.is_empty() {
            assert_eq!(read_stream(&answer).0.trim(), "X7K2QM");
        } else {
            assert_eq!(answer.json()["content"][0]["text"], json!(expected));
        }
    }
    assert_eq!((up.verifications(), up.traffic(), up.total()), (5, 0, 5));
}

#[actix_web::test]
async fn verifications_are_known_in_every_form_of_question() {
    let up = Upstream::openai("b").await;
    let question = "Join these: X7K, 2QM";
    let bodies = [
        (CHAT, json!({"messages": [{"role": "system", "content": "S9S"}, {"role": "user", "content": question}]})),
        (RESPONSES, json!({"input": question})),
        (RESPONSES, json!({"input": [{"role": "user", "content": [{"type": "input_text", "text": question}]}]})),
        ("/v1/completions", json!({"prompt": question})),
    ];
    let mut client = client_of(&up).await;
    for (target, body) in bodies {
        let answer = client.post(target, &[], body.to_string()).await;
        assert!(answer.text().contains("X7K2QM"), "{target}: {}", answer.text());
    }
    assert_eq!(up.verifications(), 4);
}

#[actix_web::test]
async fn errors_have_the_protocols_shape() {
    let up = Upstream::anthropic("a").await;
    let cases = [
        (MESSAGES, status(500), 500, "/error/type", "api_error"),
        (MESSAGES, status(529), 529, "/error/type", "overloaded_error"),
        (MESSAGES, status(401), 401, "/type", "error"),
        (MESSAGES, error(500, "overloaded_error", "Busy"), 500, "/error/message", "Busy"),
        (CHAT, status(401), 401, "/error/code", "invalid_api_key"),
        (CHAT, status(500), 500, "/error/type", "server_error"),
        (CHAT, error(429, "insufficient_quota", "Spent"), 429, "/error/code", "insufficient_quota"),
        ("/v1/files", status(404), 404, "/error/type", "not_found_error"),
    ];
    let mut client = client_of(&up).await;
    for (target, step, expected_status, pointer, expected) in cases {
        up.script([step]);
        let answer = client.post(target, &TRAFFIC, asking("Hello").to_string()).await;
        assert_eq!(answer.status, expected_status, "{target}");
        assert_eq!(answer.json().pointer(pointer), Some(&json!(expected)), "{target}");
    }
}

#[actix_web::test]
async fn whole_answers_are_sent_as_the_script_gives_them() {
    let up = Upstream::anthropic("a").await;
    up.script([
        status_and(429, &[("retry-after", "7")]),
        status_with(418, &[("x-a", "1"), ("x-a", "2")], "short and stout"),
        html(),
        empty(),
        status_with(204, &[], ""),
    ]);
    let mut client = client_of(&up).await;
    let limited = client.get("/1", &TRAFFIC).await;
    assert_eq!((limited.status, limited.header("retry-after")), (429, Some("7")));
    let teapot = client.get("/2", &TRAFFIC).await;
    assert_eq!(
        (teapot.status, teapot.text().as_str(), teapot.headers.all("x-a")),
        (418, "short and stout", vec!["1", "2"])
    );
    let page = client.get("/3", &TRAFFIC).await;
    assert_eq!((page.status, page.header("content-type"), page.body.is_empty()), (200, Some("text/html"), false));
    let nothing = client.get("/4", &TRAFFIC).await;
    assert_eq!((nothing.status, nothing.body.len(), nothing.ended), (200, 0, Ended::Whole));
    assert_eq!(client.get("/5", &TRAFFIC).await.status, 204);
    assert_eq!(up.connections(), 1);
}

#[actix_web::test]
async fn a_head_is_answered_without_a_body_and_the_connection_goes_on() {
    let up = Upstream::anthropic("a").await;
    let mut client = client_of(&up).await;
    let answer = client.head("/", &TRAFFIC).await;
    assert_eq!((answer.status, answer.body.len(), answer.ended), (200, 0, Ended::Whole));
    assert_ne!(answer.header("content-length"), Some("0"));
    assert_eq!(client.get("/", &TRAFFIC).await.status, 200);
}

#[actix_web::test]
async fn a_required_key_is_taken_in_both_forms_and_any_other_refused() {
    let up = Upstream::anthropic("a").await;
    up.requires_key("k1");
    let cases: [(&[(&str, &str)], u16); 5] = [
        (&[("x-api-key", "k1")], 200),
        (&[("authorization", "Bearer k1")], 200),
        (&[("x-api-key", "k2")], 401),
        (&[("x-api-key", "k1"), ("authorization", "Bearer k2")], 401),
        (&[], 401),
    ];
    let mut client = client_of(&up).await;
    for (headers, expected) in cases {
        let answer = client.post(MESSAGES, headers, verification()).await;
        assert_eq!(answer.status, expected, "{headers:?}");
        if expected == 401 {
            assert_eq!(answer.json()["error"]["type"], json!("authentication_error"));
        }
    }
    up.mend();
    assert_eq!(client.post(MESSAGES, &[], verification()).await.status, 200);
}
