//! Models: who serves which, under which name it is asked for, and what becomes of the body.

use serde_json::{Value, json};

use crate::compressed::coded;
use crate::support::app::{Setup, TRAFFIC, body};
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{Behaviour, status};

fn asking_for(model: &str) -> String {
    json!({ "model": model, "max_tokens": 64, "messages": [{ "role": "user", "content": "Say hello." }] }).to_string()
}

#[actix_web::test]
async fn a_model_goes_to_the_endpoints_whose_globs_fit() {
    let [a, b, c] = [Upstream::anthropic("a").await, Upstream::anthropic("b").await, Upstream::anthropic("c").await];
    let app = Setup::new()
        .endpoint("a", &a.base_url(), "models = [\"claude-opus-*\", \"glm-?\"]")
        .endpoint("b", &b.base_url(), "models = [\"claude-{haiku,sonnet}-*\"]")
        .endpoint("c", &c.base_url(), "queue = \"secondary\"")
        .start()
        .await;
    let mut client = app.client().await;
    for (model, endpoint) in [
        ("claude-opus-4-5", "a"),
        ("glm-5", "a"),
        ("claude-haiku-4-5", "b"),
        ("claude-sonnet-4-5", "b"),
        ("glm-55", "c"),
        ("Claude-Opus-4-5", "c"),
        ("x/claude-opus-4-5", "c"),
        ("gpt-4o", "c"),
    ] {
        let answer = client.post("/v1/messages", &[TRAFFIC], asking_for(model)).await;
        assert_eq!((answer.status, answer.header("x-qcc-endpoint")), (200, Some(endpoint)), "{model}");
    }
    app.finish().await;
}

#[actix_web::test]
async fn a_model_that_no_endpoint_serves_is_not_found_in_the_paths_own_shape() {
    let (a, o) = (Upstream::anthropic("a").await, Upstream::openai("o").await);
    let app = Setup::new()
        .endpoint("a", &a.base_url(), "models = [\"claude-*\"]")
        .endpoint("o", &o.base_url(), "protocol = \"openai\"\nmodels = [\"gpt-*\"]")
        .start()
        .await;
    let mut client = app.client().await;
    for (path, model, code) in [
        ("/v1/messages", "gpt-4o", false),
        ("/v1/messages", "llama", false),
        ("/v1/chat/completions", "claude-opus-4-5", true),
        ("/v1/responses", "llama", true),
        ("/v1/embeddings", "llama", true),
        ("/v1/completions", "llama", true),
    ] {
        let answer = client.post(path, &[TRAFFIC], asking_for(model)).await;
        let error = answer.json();
        assert_eq!((answer.status, &error["error"]["type"]), (404, &json!("not_found_error")), "{path} {model}");
        assert_eq!(error["type"] == json!("error"), !code, "{path}: {error}");
        assert_eq!(error["error"].get("param").is_some(), code, "{path}: {error}");
        assert!(answer.header("x-qcc-endpoint").is_none());
    }
    assert_eq!((a.total(), o.total()), (0, 0));
    app.finish().await;
}

/// What a client sent, and what an endpoint then gets: only the values of `model` differ.
async fn check_rewritten(map: &str, sent: &str, got: &str) {
    for (path, protocol) in [("/v1/messages", ""), ("/v1/chat/completions", "protocol = \"openai\"\n")] {
        let upstream = Upstream::anthropic("a").await;
        let app =
            Setup::new().endpoint("a", &upstream.base_url(), &format!("{protocol}model_map = {map}")).start().await;
        let answer = app.client().await.post(path, &[TRAFFIC], sent).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let received = upstream.received(1).await;
        assert_eq!(String::from_utf8_lossy(&received.body), got, "{path} {map}");
        assert_eq!(received.header("content-length"), Some(got.len().to_string().as_str()));
        app.finish().await;
    }
}

const MAP: &str = r#"{ "claude-opus-*" = "opus", "claude-opus-4-*" = "opus-4", "claude-opus-4-5" = "öpus \"4.5\"\\" }"#;

#[actix_web::test]
async fn the_model_is_renamed_to_the_byte_and_the_most_exact_name_wins() {
    for (named, sent) in [
        ("claude-opus-4-5", r#""öpus \"4.5\"\\""#),
        ("claude-opus-4-1", r#""opus-4""#),
        ("claude-opus-3", r#""opus""#),
        ("claude-haiku-4-5", r#""claude-haiku-4-5""#),
    ] {
        let body = format!("{{\"model\":\"{named}\"}}");
        check_rewritten(MAP, &body, &format!("{{\"model\":{sent}}}")).await;
    }
}

#[actix_web::test]
async fn whatever_else_stands_in_the_body_is_not_touched() {
    for (sent, got) in [
        // White space, the order of keys, numbers as they are written, keys that come twice.
        (
            "\n{ \"b\" : 1e3,\t\"a\":-0.0 ,\"model\"  :\r\n \"claude-opus-3\" , \"a\":1.50, \"messages\": [ ] }\n ",
            "\n{ \"b\" : 1e3,\t\"a\":-0.0 ,\"model\"  :\r\n \"opus\" , \"a\":1.50, \"messages\": [ ] }\n ",
        ),
        // Escapes in names and texts; a model in another place is another thing.
        (
            r#"{"\u006dodel":"claude-opus-3","metadata":{"model":"claude-opus-3"},"x":"\ud83d\ude00 \/ \u00e9 é 😀"}"#,
            r#"{"\u006dodel":"opus","metadata":{"model":"claude-opus-3"},"x":"\ud83d\ude00 \/ \u00e9 é 😀"}"#,
        ),
        // The model itself in escapes.
        (r#"{"model":"claude\u002dopus-3","z":null}"#, r#"{"model":"opus","z":null}"#),
        // Every one of several; the last is the one that counts.
        (
            r#"{"model":"x","a":[{"model":"claude-opus-3"}],"model":"claude-opus-3"}"#,
            r#"{"model":"opus","a":[{"model":"claude-opus-3"}],"model":"opus"}"#,
        ),
        (r#"{"model":"claude-opus-3","model":"x"}"#, r#"{"model":"claude-opus-3","model":"x"}"#),
        // No name at all.
        (r#"{"model":7,"messages":[]}"#, r#"{"model":7,"messages":[]}"#),
        (r#"{"messages":["claude-opus-3"]}"#, r#"{"messages":["claude-opus-3"]}"#),
        ("[\"model\",\"claude-opus-3\"]", "[\"model\",\"claude-opus-3\"]"),
        ("model: claude-opus-3", "model: claude-opus-3"),
    ] {
        check_rewritten(MAP, sent, got).await;
    }
}

/// Text of some megabytes that compresses badly, with a model behind it.
fn long_conversation(model: &str) -> String {
    let words = (0..300_000_u64).map(|number| (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40).to_string());
    let text = words.collect::<Vec<_>>().join(r#"\n \""#);
    format!(r#"{{"max_tokens":64,"messages":[{{"role":"user","content":"{text}"}}],"model":"{model}"}}"#)
}

#[actix_web::test]
async fn a_conversation_of_megabytes_arrives_to_the_byte_under_each_endpoints_own_name() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.behave(Behaviour::honest().traffic(status(500)));
    let app = Setup::new()
        .endpoint("a", &a.base_url(), "model_map = { \"*\" = \"the-name-at-a\" }")
        .endpoint("b", &b.base_url(), "queue = \"secondary\"\nmodel_map = { \"*\" = \"b\" }")
        .start()
        .await;
    let mut client = app.client().await;
    for coding in [None, Some("gzip")] {
        let plain = long_conversation("claude-opus-4-5");
        let (headers, sent) = match coding {
            Some(coding) => (vec![TRAFFIC, ("content-encoding", coding)], coded(coding, plain.as_bytes())),
            None => (vec![TRAFFIC], plain.into_bytes()),
        };
        let answer = client.post("/v1/messages", &headers, sent).await;
        assert_eq!((answer.status, answer.header("x-qcc-endpoint")), (200, Some("b")), "{coding:?}");
        for (upstream, name) in [(&a, "the-name-at-a"), (&b, "b")] {
            let got = upstream.traffic_requests().pop().unwrap();
            assert!(got.body == long_conversation(name).as_bytes(), "{coding:?}: {name} got another one");
        }
    }
    app.finish().await;
}

#[actix_web::test]
async fn each_endpoint_gets_its_own_name_for_the_model_and_globs_see_the_clients() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.behave(Behaviour::honest().traffic(status(500)));
    let app = Setup::new()
        .endpoint("a", &a.base_url(), "models = [\"claude-haiku-*\"]\nmodel_map = { \"claude-haiku-*\" = \"haiku-at-a\" }")
        .endpoint(
            "b",
            &b.base_url(),
            "queue = \"secondary\"\nmodels = [\"claude-haiku-*\"]\nmodel_map = { \"claude-haiku-4-5\" = \"haiku-at-b\" }",
        )
        .verified_on_demand()
        .start()
        .await;
    let answer = app.client().await.post("/v1/messages", &[TRAFFIC], body(false)).await;
    assert_eq!((answer.status, answer.header("x-qcc-endpoint")), (200, Some("b")));
    let model_at = |upstream: &Upstream| -> Value { upstream.traffic_requests()[0].json()["model"].clone() };
    assert_eq!((model_at(&a), model_at(&b)), (json!("haiku-at-a"), json!("haiku-at-b")));
    let asked_by_the_sent_name = app.client().await.post("/v1/messages", &[TRAFFIC], asking_for("haiku-at-b")).await;
    assert_eq!(asked_by_the_sent_name.status, 404, "globs see the client's name");
    app.finish().await;
}

/// A 404 names the model that was sent, which the client may never have heard of.
#[actix_web::test]
async fn a_404_about_the_mapped_model_is_about_the_model() {
    use crate::support::upstream::step::error;
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.script([error(404, "not_found_error", "there is no haiku-at-a here")]);
    let app = Setup::new()
        .endpoint("a", &a.base_url(), "model_map = { \"claude-haiku-*\" = \"haiku-at-a\" }")
        .secondary(&b)
        .start()
        .await;
    let answer = app.message().await;
    assert_eq!((answer.status, answer.header("x-qcc-endpoint")), (200, Some("b")));
    assert_eq!(app.row("a").await["failures"], 0);
    app.finish().await;
}

#[actix_web::test]
async fn a_doubled_version_is_taken_for_one() {
    let (a, o) = (Upstream::anthropic("a").await, Upstream::openai("o").await);
    let app = Setup::new().primary(&a).endpoint("o", &o.base_url(), "protocol = \"openai\"").start().await;
    let mut client = app.client().await;
    for (path, upstream, target) in [
        ("/v1/v1/messages", &a, "/v1/messages"),
        ("/v1/v1/messages?beta=true&x=%2F", &a, "/v1/messages?beta=true&x=%2F"),
        ("/v1/v1/messages/count_tokens", &a, "/v1/messages/count_tokens"),
        ("/v1/v1/chat/completions", &o, "/v1/chat/completions"),
        ("/v1/v1/responses", &o, "/v1/responses"),
        ("/v1/v1/embeddings", &o, "/v1/embeddings"),
    ] {
        let before = upstream.total();
        assert_eq!(client.post(path, &[TRAFFIC], body(false)).await.status, 200, "{path}");
        assert_eq!(upstream.received(before + 1).await.target, target);
    }
    assert_eq!(client.post("/v1/v1/v1/messages", &[TRAFFIC], body(false)).await.status, 404, "two, not three");
    app.finish().await;
}
