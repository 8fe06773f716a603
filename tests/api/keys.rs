//! Client keys.

use serde_json::json;

use crate::support::app::{Setup, TRAFFIC, TestApp, body};
use crate::support::eventually::eventually;
use crate::support::raw_client::{Answer, Ended};
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{Behaviour, hold, ok, sse, status_with};

/// One message by the holder of a key.
async fn by(app: &TestApp, key: &str, path: &str) -> Answer {
    app.client().await.post(path, &[TRAFFIC, ("x-api-key", key)], body(false)).await
}

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

#[actix_web::test]
async fn while_a_key_is_replaced_both_are_accepted() {
    let upstream = Upstream::anthropic("a").await;
    // The digests of "old" and "new".
    let old = "cba06b5736faf67e54b07b561eae94395e774c517a7d910a54369e1263ccfbd4";
    let new = "11507a0e2f5e69d5dfa40a62a1bd7b6ee57e6bcd85c67c9b8431b36fff21c437";
    let both = format!("keys_sha256 = [\"{old}\", \"{new}\"]");
    let app = Setup::new().primary(&upstream).section("clients.alice", &both).start().await;
    for (key, status) in [("old", 200), ("new", 200), (old, 401), ("older", 401)] {
        assert_eq!(by(&app, key, "/v1/messages").await.status, status, "{key}");
    }
    app.finish().await;
}

#[actix_web::test]
async fn an_expired_key_is_told_so_and_a_disabled_clients_key_is_unknown() {
    let upstream = Upstream::anthropic("a").await;
    let app = Setup::new()
        .primary(&upstream)
        .section("clients.alice", "key = \"over\"\nexpires = \"2020-01-01T00:00:00Z\"")
        .section("clients.bob", "key = \"valid\"\nexpires = \"2999-01-01T00:00:00+02:00\"")
        .section("clients.carol", "key = \"off\"\nenabled = false")
        .start()
        .await;
    for path in ["/v1/messages", "/v1/chat/completions"] {
        for (key, said) in [("over", "expired"), ("off", "does not know")] {
            let refused = by(&app, key, path).await;
            assert_eq!((refused.status, refused.header("x-should-retry")), (401, Some("false")), "{key}");
            let error = &refused.json()["error"];
            assert_eq!(error["type"], "authentication_error");
            assert!(error["message"].as_str().unwrap().contains(said), "{error}");
            assert!(!refused.text().contains("alice") && !refused.text().contains("carol"), "{}", refused.text());
        }
    }
    assert_eq!(upstream.total(), 0);
    let stats = app.stats().await;
    let rows = stats["clients"].as_array().unwrap().iter().map(|row| (row["id"].as_str(), row["rejected"].as_u64()));
    let rejected: Vec<_> = rows.filter(|(_, rejected)| *rejected != Some(0)).collect();
    assert_eq!(rejected, [(None, Some(2)), (Some("alice"), Some(2))], "an operator sees whose key has expired");
    assert_eq!(by(&app, "valid", "/v1/messages").await.status, 200);
    app.finish().await;
}

#[actix_web::test]
async fn a_client_over_its_limit_is_told_to_wait_and_others_are_served() {
    let upstream = Upstream::anthropic("a").await;
    let app = Setup::new()
        .primary(&upstream)
        .section("clients.alice", "key = \"alice\"\nmax_in_flight = 1")
        .section("clients.bob", "key = \"bob\"")
        .start()
        .await;
    upstream.script([hold("open").then(ok())]);
    let mut first = app.client().await;
    first.send_request("POST", "/v1/messages", &[TRAFFIC, ("x-api-key", "alice")], body(false).as_bytes()).await;
    upstream.gates().reached("open").await;
    for path in ["/v1/messages", "/v1/chat/completions"] {
        let refused = by(&app, "alice", path).await;
        assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")), "{path}");
        assert_eq!(refused.json()["error"]["type"], "rate_limit_error");
        assert_eq!(refused.json().get("type").is_some(), path == "/v1/messages", "in the path's protocol's shape");
    }
    let stats = app.stats().await;
    assert_eq!((&stats["rejected_requests"], &stats["failed_requests"]), (&json!(2), &json!(0)), "nothing has failed");
    assert_eq!(by(&app, "bob", "/v1/messages").await.status, 200);
    upstream.gates().open("open");
    assert_eq!(first.answer().await.status, 200);
    assert_eq!(by(&app, "alice", "/v1/messages").await.status, 200, "the place is free again");
    app.finish().await;
}

#[actix_web::test]
async fn a_clients_place_is_free_again_however_its_request_ends() {
    let upstream = Upstream::anthropic("a").await;
    let limited = "key = \"alice\"\nmax_in_flight = 1";
    let server = "host = \"127.0.0.1\"\nport = 0\nworkers = 2\nmax_body = \"1KiB\"";
    let setup = Setup::only().section("server", server).primary(&upstream);
    let app = setup.section("clients.alice", limited).start().await;
    upstream.script([
        sse(2).hold("whole").more(2).then_end(),
        sse(2).hold("left").then_end(),
        hold("never").then(ok()),
    ]);
    let ask = async || {
        let mut client = app.client().await;
        let headers = [TRAFFIC, ("x-api-key", "alice")];
        client.send_request("POST", "/v1/messages", &headers, body(true).as_bytes()).await;
        client
    };
    let is_free = async || by(&app, "alice", "/v1/messages").await.status == 200;

    let mut client = ask().await;
    assert_eq!(client.answer_head().await.status, 200);
    assert_eq!(by(&app, "alice", "/v1/messages").await.status, 429, "a stream that flows is under way");
    upstream.gates().open("whole");
    assert_eq!(client.rest().await.ended, Ended::Whole);
    // Two steps of the script are left for requests that their client leaves: in the stream, and before its head.
    let mut client = ask().await;
    assert_eq!(client.answer_head().await.status, 200);
    client.hang_up();
    let left = async |count: u64| {
        eventually("the client's leaving is seen", async || app.stats().await["cancelled_requests"] == count).await;
    };
    left(1).await;
    let client = ask().await;
    upstream.gates().reached("never").await;
    client.hang_up();
    left(2).await;
    assert!(is_free().await);
    // Refused by the gateway itself, and broken off before the body was there.
    let large = "x".repeat(2000);
    let large = app.client().await.post("/v1/messages", &[TRAFFIC, ("x-api-key", "alice")], large).await;
    assert_eq!(large.status, 413);
    assert!(is_free().await);
    let torn = eventually("its place to be taken", async || {
        let mut torn = app.client().await;
        torn.send(b"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: alice\r\ncontent-length: 9\r\n\r\n{").await;
        // One that comes while a look at the place has it is refused, and another one has to come.
        for _ in 0..20 {
            if !is_free().await {
                return Some(torn);
            }
        }
        None
    })
    .await;
    torn.hang_up();
    eventually("its place to be free", is_free).await;
    app.finish().await;
}

#[actix_web::test]
async fn a_further_file_may_name_clients() {
    let upstream = Upstream::anthropic("a").await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "[clients.bob]\nkey = \"bob\"\n").unwrap();
    let server = format!("port = 0\nworkers = 1\nclients_file = \"{}\"", file.path().display());
    let app = Setup::only()
        .section("server", &server)
        .primary(&upstream)
        .section("clients.alice", "key = \"alice\"")
        .start()
        .await;
    for (key, status) in [("alice", 200), ("bob", 200), ("carol", 401)] {
        assert_eq!(by(&app, key, "/v1/messages").await.status, status, "{key}");
    }
    app.finish().await;
}

#[actix_web::test]
async fn without_client_keys_a_page_in_a_browser_is_not_served() {
    let a = Upstream::anthropic("a").await;
    let open = Setup::new().primary(&a).start().await;
    for (host, headers, status) in [
        ("localhost", "origin: http://evil.example\r\n", 403),
        ("localhost", "origin: null\r\n", 403),
        ("localhost", "sec-fetch-site: cross-site\r\n", 403),
        ("localhost:1", "sec-fetch-site: same-site\r\norigin: http://localhost:3000\r\n", 403),
        ("evil.example", "sec-fetch-site: same-origin\r\norigin: http://evil.example\r\n", 403),
        ("localhost:1", "sec-fetch-site: same-origin\r\norigin: http://localhost:1\r\n", 200),
        // Not by a browser: a container that reaches its host's loopback, say.
        ("host.docker.internal:7860", "", 200),
    ] {
        let (body, mut client) = (body(false), open.client().await);
        let head = format!("POST /v1/messages HTTP/1.1\r\nhost: {host}\r\nx-traffic: 1\r\n{headers}");
        client.send(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).await;
        assert_eq!(client.answer().await.status, status, "{head}");
    }
    assert_eq!(a.total(), 2);
    let keyed = Setup::new().primary(&a).section("clients.alice", "key = \"k\"").start().await;
    let headers = [TRAFFIC, ("x-api-key", "k"), ("origin", "http://app.example"), ("sec-fetch-site", "cross-site")];
    assert_eq!(keyed.client().await.post("/v1/messages", &headers, body(false)).await.status, 200, "it has a key");
    open.finish().await;
    keyed.finish().await;
}

#[actix_web::test]
async fn an_upstreams_page_has_no_rights_of_the_gateways_own() {
    let a = Upstream::anthropic("a").await;
    let app = Setup::new().primary(&a).start().await;
    let navigates = [("sec-fetch-mode", "navigate"), ("sec-fetch-site", "none")];
    let (html, json) = ("text/html; charset=utf-8", "Application/JSON; charset=utf-8");
    for (media_type, asked, policy) in [
        (html, &navigates[..], "sandbox"),
        (json, &navigates, "sandbox"),
        // A browser says nothing of that to an address that is neither HTTPS nor loopback.
        (html, &[], "sandbox"),
        (json, &[], "default-src *"),
        ("text/event-stream", &[], "default-src *"),
        ("application/json;, text/html", &[], "sandbox"),
        (html, &[("sec-fetch-mode", "cors")], "default-src *"),
    ] {
        let page = [("content-type", media_type), ("content-security-policy", "default-src *")];
        a.behave(Behaviour::always(status_with(200, &page, "<script>steal()</script>")));
        let shown = app.client().await.get("/v1/models", asked).await;
        let found = (shown.status, shown.header("content-security-policy"));
        assert_eq!(found, (200, Some(policy)), "{media_type} {asked:?}");
    }
    app.finish().await;
}

/// What is so of its own host is perhaps not so of the gateway's.
#[actix_web::test]
async fn an_upstream_says_nothing_of_the_gateways_host() {
    let a = Upstream::anthropic("a").await;
    let of_a_host = [("strict-transport-security", "max-age=31536000; includeSubDomains"), ("alt-svc", "h3=\":443\"")];
    a.behave(Behaviour::always(status_with(200, &of_a_host, "{}")));
    let app = Setup::new().primary(&a).start().await;
    let answer = app.client().await.get("/v1/models", &[]).await;
    assert_eq!(of_a_host.map(|(name, _)| answer.header(name)), [None, None]);
    app.finish().await;
}

#[actix_web::test]
async fn an_upstream_logs_nobody_out_of_the_dashboard() {
    let a = Upstream::anthropic("a").await;
    let cookies = [
        ("set-cookie", "qcc_session_80=; path=/__qcc__"),
        ("set-cookie", "=qcc_session=x"),
        ("set-cookie", "a=b"),
        ("clear-site-data", "*"),
    ];
    a.behave(Behaviour::always(status_with(200, &cookies, "{}")));
    let app = Setup::new().primary(&a).start().await;
    let answer = app.client().await.get("/v1/models", &[]).await;
    assert_eq!((answer.headers.all("set-cookie"), answer.header("clear-site-data")), (vec!["a=b"], None));
    app.finish().await;
}
