//! What an endpoint gets of a client's request, and a client of an endpoint's answer.

use serde_json::json;

use crate::support::app::{Setup, TRAFFIC, body};
use crate::support::raw_client::Ended;
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{close, hold, raw, status_with};

#[actix_web::test]
async fn credentials_are_replaced_and_hop_by_hop_headers_stripped() {
    let upstream = Upstream::anthropic("a").await;
    let app = Setup::new().endpoint("a", &upstream.base_url(), "api_key = \"own\"").start().await;
    let headers = [
        TRAFFIC,
        ("authorization", "Bearer client-key"),
        ("x-api-key", "client-key"),
        ("x-goog-api-key", "client-key"),
        ("api-key", "client-key"),
        ("x-qcc-key", "client-key"),
        ("openai-organization", "org-another"),
        ("openai-project", "proj-another"),
        ("x-litellm-api-key", "client-key"),
        ("sec-websocket-protocol", "realtime, openai-insecure-api-key.client-key"),
        ("connection", "keep-alive, x-private"),
        ("connection", "x-\u{e9}, x-hidden"),
        ("x-private", "1"),
        ("x-hidden", "1"),
        ("keep-alive", "timeout=5"),
        ("te", "trailers"),
        ("proxy-authorization", "Basic x"),
        ("accept-encoding", "gzip, br"),
        ("anthropic-beta", "one"),
        ("anthropic-beta", "two"),
        ("anthropic-version", "2099-01-01"),
        ("user-agent", "claude-cli/2"),
    ];
    let answer = app.client().await.post("/v1/messages?beta=true", &headers, body(false)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let got = upstream.received(1).await;
    assert_eq!(got.target, "/v1/messages?beta=true");
    assert_eq!(got.keys(), ["own"]);
    for gone in [
        "authorization",
        "x-goog-api-key",
        "api-key",
        "x-qcc-key",
        "openai-organization",
        "openai-project",
        "x-litellm-api-key",
        "sec-websocket-protocol",
        "x-private",
        "x-hidden",
        "keep-alive",
        "te",
        "proxy-authorization",
        "x-forwarded-for",
    ] {
        assert_eq!(got.header(gone), None, "{gone}");
    }
    assert_eq!(got.headers.all("anthropic-beta"), ["one", "two"]);
    assert_eq!(got.header("accept-encoding"), Some("identity"));
    assert_eq!(got.header("anthropic-version"), Some("2099-01-01"));
    assert_eq!(got.header("user-agent"), Some("claude-cli/2"));
    assert_eq!(got.header("host"), Some(upstream.address().to_string().as_str()));
    assert_eq!(got.body, body(false).as_bytes(), "the body, to the byte");
    app.finish().await;
}

#[actix_web::test]
async fn the_answer_is_marked_and_otherwise_as_the_endpoint_gave_it() {
    let upstream = Upstream::anthropic("a").await;
    let answer = r#"{"type": "message",  "content": [],"x":"ä"}"#;
    let headers = [
        ("content-type", "application/json"),
        ("request-id", "req_up"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
        ("connection", "x-private"),
        ("x-private", "1"),
    ];
    upstream.script([status_with(200, &headers, answer)]);
    let app = Setup::new().primary(&upstream).start().await;
    let got = app.client().await.post("/v1/messages", &[TRAFFIC, ("x-request-id", "mine")], body(false)).await;
    assert_eq!(got.text(), answer);
    assert_eq!((got.header("request-id"), got.header("x-qcc-request-id")), (Some("req_up"), Some("mine")));
    assert_eq!((got.header("x-qcc-endpoint"), got.header("x-qcc-attempts")), (Some("a"), Some("1")));
    assert!(got.header("x-qcc-trail").unwrap().starts_with("a=ok@"));
    assert_eq!(got.header("x-private"), None);
    assert_eq!(got.headers.all("set-cookie"), ["a=1", "b=2"]);
    app.finish().await;
}

#[actix_web::test]
async fn a_body_of_thirty_megabytes_arrives_to_the_byte() {
    let upstream = Upstream::anthropic("a").await;
    let app = Setup::new().primary(&upstream).start().await;
    let image = "A".repeat(30 << 20);
    let body = json!({ "model": "m", "messages": [{ "role": "user", "content": image }] }).to_string();
    let answer = app.client().await.post("/v1/messages", &[TRAFFIC], &body).await;
    assert_eq!(answer.status, 200);
    assert!(upstream.received(1).await.body == body.as_bytes());
    app.finish().await;
}

#[actix_web::test]
async fn an_answer_larger_than_what_is_held_is_passed_on_to_the_byte() {
    let upstream = Upstream::anthropic("a").await;
    let large = format!(r#"{{"type":"message","content":"{}"}}"#, "x".repeat(9 << 20));
    upstream.script([status_with(200, &[("content-type", "application/json")], large.clone())]);
    let app = Setup::new().primary(&upstream).start().await;
    let answer = app.client().await.post("/v1/messages", &[TRAFFIC], body(false)).await;
    assert!(answer.body == large.as_bytes());
    assert_eq!(app.row("a").await["successes"], 1);
    app.finish().await;
}

/// Found from outside: above what is held, a torn answer that ends with its connection was given a clean end.
#[actix_web::test]
async fn a_large_answer_that_ends_with_its_connection_is_whole_only_with_its_json() {
    let upstream = Upstream::anthropic("a").await;
    let app = Setup::new().primary(&upstream).start().await;
    let large = format!(r#"{{"type":"message","content":"{}"}}"#, "x".repeat(5 << 20));
    for (sent, ended) in [(large.len(), Ended::Whole), (large.len() - 1, Ended::Truncated)] {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n";
        upstream.script([raw(format!("{head}{}", &large[..sent])).then(close())]);
        let answer = app.client().await.post("/v1/messages", &[TRAFFIC], body(false)).await;
        assert_eq!((answer.status, answer.body.len(), answer.ended), (200, sent, ended));
    }
    let row = app.row("a").await;
    assert_eq!((&row["successes"], &row["failures"]), (&json!(1), &json!(1)));
    app.finish().await;
}

#[actix_web::test]
async fn the_model_is_renamed_and_nothing_else_is_touched() {
    let upstream = Upstream::anthropic("a").await;
    let app =
        Setup::new().endpoint("a", &upstream.base_url(), "model_map = { \"claude-opus-*\" = \"opus\" }").start().await;
    let sent = "{ \"model\" : \"claude-opus-4-5\",\n \"messages\": [ {\"role\":\"user\",\"content\":\"model\"} ], \"x\": 1e3 }";
    app.client().await.post("/v1/messages", &[TRAFFIC], sent).await;
    let got = upstream.received(1).await;
    assert_eq!(String::from_utf8_lossy(&got.body), sent.replace("\"claude-opus-4-5\"", "\"opus\""));
    app.finish().await;
}

#[actix_web::test]
async fn other_paths_are_passed_on_untouched_to_the_first_endpoint() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    let app = Setup::new().primary(&a).primary(&b).start().await;
    for _ in 0..4 {
        let answer = app.client().await.get("/v1/models?limit=1000", &[TRAFFIC, ("accept-encoding", "br")]).await;
        assert_eq!(answer.header("x-qcc-endpoint"), Some("a"));
    }
    let got = a.received(1).await;
    assert_eq!((got.target.as_str(), got.header("accept-encoding")), ("/v1/models?limit=1000", Some("br")));
    assert_eq!(b.total(), 0);
    app.finish().await;
}

#[actix_web::test]
async fn a_client_s_own_credential_passes_through_where_that_is_wanted() {
    let upstream = Upstream::anthropic("a").await;
    upstream.requires_key("theirs");
    let app = Setup::new().endpoint("a", &upstream.base_url(), "auth = \"passthrough\"").start().await;
    let mut client = app.client().await;
    let theirs = [TRAFFIC, ("x-api-key", "theirs"), ("openai-organization", "org-theirs")];
    assert_eq!(client.post("/v1/messages", &theirs, body(false)).await.status, 200);
    assert_eq!(upstream.received(1).await.header("openai-organization"), Some("org-theirs"), "their account, too");
    let refused = client.post("/v1/messages", &[TRAFFIC, ("x-api-key", "wrong")], body(false)).await;
    assert_eq!(refused.status, 401);
    assert_eq!(app.row("a").await["standing"], "primary", "the client's key is the client's fault");
    app.finish().await;
}

/// Found from outside: whoever had logged in to the dashboard could have sent the session to an endpoint.
#[actix_web::test]
async fn the_dashboards_cookie_goes_to_no_endpoint_and_others_go_to_the_byte() {
    for auth in ["auth = \"x-api-key\"", "auth = \"bearer\"", "auth = \"both\"", "auth = \"passthrough\""] {
        let upstream = Upstream::anthropic("a").await;
        let app = Setup::new().endpoint("a", &upstream.base_url(), auth).start().await;
        let mut client = app.client().await;
        let cookies = [
            ("cookie", "a=1; qcc_session_80=secret;  b=\"2\""),
            ("cookie", "qcc_session=secret"),
            ("cookie", "xqcc_session=3"),
            TRAFFIC,
        ];
        assert_eq!(client.post("/v1/messages", &cookies, body(false)).await.status, 200, "{auth}");
        assert_eq!(client.get("/v1/models", &cookies).await.status, 200, "{auth}");
        for request in upstream.requests() {
            assert_eq!(request.headers.all("cookie"), ["a=1;  b=\"2\"", "xqcc_session=3"], "{auth} {}", request.target);
        }
        assert_eq!(upstream.total(), 2);
        app.finish().await;
    }
}

/// An interim answer that is taken for the final one leaves the final one behind, for whoever comes next on that connection.
#[actix_web::test]
async fn after_an_interim_answer_each_of_two_clients_gets_its_own() {
    let upstream = Upstream::anthropic("a").await;
    let early = "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n";
    let own = |text: &str| status_with(200, &[("content-type", "application/json")], format!("{{\"for\":\"{text}\"}}"));
    upstream.script([raw(early).then(hold("first")).then(own("first")), own("second")]);
    let app =
        Setup::only().section("server", "host = \"127.0.0.1\"\nport = 0\nworkers = 1").primary(&upstream).start().await;
    let mut first = app.client().await;
    first.send_request("POST", "/v1/messages", &[TRAFFIC], body(false).as_bytes()).await;
    upstream.gates().reached("first").await;
    upstream.gates().open("first");
    assert_eq!(first.answer().await.json()["for"], "first");
    let second = app.client().await.post("/v1/messages", &[TRAFFIC], body(false)).await;
    assert_eq!(second.json()["for"], "second");
    assert_eq!(upstream.connections(), 1, "on the same connection");
    app.finish().await;
}
