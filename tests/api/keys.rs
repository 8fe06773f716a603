//! Client keys.

use serde_json::json;

use crate::support::app::{Setup, TRAFFIC, body};
use crate::support::upstream::Upstream;

#[actix_web::test]
async fn only_clients_with_a_key_are_served() {
    let upstream = Upstream::anthropic("a").await;
    let app = Setup::new().primary(&upstream).section("clients.alice", "key = \"alice-key\"").start().await;
    let mut client = app.client().await;
    for header in [("x-api-key", "alice-key"), ("authorization", "Bearer alice-key"), ("x-qcc-key", "alice-key")] {
        assert_eq!(client.post("/v1/messages", &[TRAFFIC, header], body(false)).await.status, 200, "{header:?}");
    }
    for headers in [vec![TRAFFIC], vec![TRAFFIC, ("x-api-key", "other")]] {
        for (path, error) in [("/v1/messages", "/error/type"), ("/v1/chat/completions", "/error/type")] {
            let refused = app.client().await.post(path, &headers, body(false)).await;
            assert_eq!((refused.status, refused.header("x-should-retry")), (401, Some("false")));
            assert_eq!(refused.json().pointer(error), Some(&json!("authentication_error")));
        }
    }
    assert_eq!(upstream.total(), 3);
    assert!(upstream.requests().iter().all(|got| got.keys() == ["key"]), "the client's key never goes upstream");
    app.finish().await;
}

#[actix_web::test]
async fn a_client_is_served_by_its_profile() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    let app = Setup::new()
        .endpoint("a", &a.base_url(), "profiles = [\"default\"]")
        .endpoint("b", &b.base_url(), "profiles = [\"research\"]")
        .section("clients.alice", "key = \"a\"")
        .section("clients.bob", "key = \"b\"\nprofile = \"research\"")
        .start()
        .await;
    let mut client = app.client().await;
    for (key, endpoint) in [("a", "a"), ("b", "b"), ("a", "a"), ("b", "b")] {
        let answer = client.post("/v1/messages", &[TRAFFIC, ("x-api-key", key)], body(false)).await;
        assert_eq!(answer.header("x-qcc-endpoint"), Some(endpoint));
    }
    app.finish().await;
}

#[actix_web::test]
async fn a_large_body_without_a_key_is_refused_before_it_is_read() {
    let upstream = Upstream::anthropic("a").await;
    let app = Setup::new().primary(&upstream).section("clients.alice", "key = \"alice-key\"").start().await;
    let mut client = app.client().await;
    client.send(b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 20000000\r\n\r\n{").await;
    assert_eq!(client.answer().await.status, 401);
    app.finish().await;
}
