//! Connections that fail: early answers, stale ones, names that do not resolve, certificates that nobody vouches for.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::app::{Setup, TRAFFIC, body};
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{Behaviour, Step, close, hold, never_answer, ok, reset, status};

const PATHS: [(&str, &str); 2] = [("/v1/messages", ""), ("/v1/chat/completions", "protocol = \"openai\"\n")];

/// A request of some 2 MB.
fn large() -> String {
    let words = "words ".repeat(350_000);
    json!({ "model": "claude-haiku-4-5", "messages": [{ "role": "user", "content": words }] }).to_string()
}

/// An upstream that answers before it has read the body, and closes: what it said is not lost in the reset.
#[actix_web::test]
async fn an_answer_that_comes_while_the_body_is_still_being_sent_is_the_answer() {
    for (path, protocol) in PATHS {
        let early: [(Step, u16, &str, &str); 4] = [
            (status(401).then(close()), 200, "b", "failure"),
            (status(413).then(close()), 413, "a", "primary"),
            (status(400), 400, "a", "primary"),
            (status(500).then(close()), 200, "b", "primary"),
        ];
        for (step, expected, by, standing) in early {
            let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
            a.script_before_body([step]);
            let app = Setup::new()
                .endpoint("a", &a.base_url(), protocol)
                .endpoint("b", &b.base_url(), &format!("{protocol}queue = \"secondary\""))
                .verified_on_demand()
                .start()
                .await;
            let sent = large();
            let answer = app.client().await.post(path, &[TRAFFIC], &sent).await;
            assert_eq!((answer.status, answer.header("x-qcc-endpoint")), (expected, Some(by)), "{}", answer.text());
            let row = app.row("a").await;
            let last = row["last_error"].as_str().unwrap_or_default();
            assert_eq!(row["standing"], standing);
            assert!(last.is_empty() || last.starts_with("HTTP "), "not a fault of the connection: {last}");
            for got in b.traffic_requests() {
                assert!(got.body == sent.as_bytes(), "sent again to the byte");
            }
            app.finish().await;
        }
    }
}

#[actix_web::test]
async fn a_connection_that_went_stale_in_the_pool_is_replaced_without_counting() {
    for (path, protocol) in PATHS {
        let upstream = Upstream::anthropic("a").await;
        let server = "host = \"127.0.0.1\"\nport = 0\nworkers = 1";
        let app = Setup::only()
            .section("server", server)
            .isolated_by_one_failure()
            .endpoint("a", &upstream.base_url(), protocol)
            .verified_on_demand()
            .start()
            .await;
        let mut client = app.client().await;
        for round in 1..=3 {
            let answer = client.post(path, &[TRAFFIC], crate::support::app::body(false)).await;
            assert_eq!((answer.status, answer.header("x-qcc-attempts")), (200, Some("1")));
            assert_eq!(upstream.connections(), round, "a fresh one each time");
            // Closes every connection that it has, the one in the pool among them.
            upstream.down().await;
            upstream.up();
        }
        let row = app.row("a").await;
        assert_eq!((&row["failures"], &row["requests"], &row["standing"]), (&json!(0), &json!(3), &json!("primary")));
        app.finish().await;
    }
}

/// Whether the request was on its way already does not matter, as long as no byte of an answer has come.
#[actix_web::test]
async fn a_pooled_connection_that_closes_upon_the_next_request_is_replaced_too() {
    let upstream = Upstream::anthropic("a").await;
    upstream.script([ok().then(hold("idle")).then(close())]);
    let server = "host = \"127.0.0.1\"\nport = 0\nworkers = 1";
    let app = Setup::only().section("server", server).primary(&upstream).verified_on_demand().start().await;
    assert_eq!(app.message().await.status, 200);
    upstream.gates().reached("idle").await;
    let mut client = app.client().await;
    client.send_request("POST", "/v1/messages", &[TRAFFIC], crate::support::app::body(false).as_bytes()).await;
    upstream.gates().open("idle");
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.header("x-qcc-attempts")), (200, Some("1")));
    assert_eq!((upstream.connections(), &app.row("a").await["failures"]), (2, &json!(0)));
    app.finish().await;
}

/// What a fault of the connection counts as, and that the next endpoint serves.
async fn check_connect_fault(base_url: &str, said: &str) {
    for (path, protocol) in PATHS {
        let b = Upstream::anthropic("b").await;
        let app = Setup::new()
            .section("breaker", "failure_threshold = 2")
            .endpoint("a", base_url, protocol)
            .endpoint("b", &b.base_url(), &format!("{protocol}queue = \"secondary\""))
            .verified_on_demand()
            .start()
            .await;
        let mut client = app.client().await;
        for standing in ["primary", "failure"] {
            let answer = client.post(path, &[TRAFFIC], crate::support::app::body(false)).await;
            assert_eq!((answer.status, answer.header("x-qcc-endpoint")), (200, Some("b")), "{}", answer.text());
            assert!(answer.header("x-qcc-trail").unwrap().starts_with("a=connect@"));
            assert_eq!(app.row("a").await["standing"], standing);
        }
        let row = app.row("a").await;
        assert_eq!((&row["failures"], &row["isolated_reason"]), (&json!(2), &json!("connect")));
        assert!(row["last_error"].as_str().unwrap().contains(said), "{}", row["last_error"]);
        app.finish().await;
    }
}

#[actix_web::test]
async fn a_refused_connection_is_a_counted_failure() {
    let upstream = Upstream::anthropic("a").await;
    upstream.down().await;
    check_connect_fault(&upstream.base_url(), "no connection").await;
}

#[actix_web::test]
async fn a_name_that_does_not_resolve_is_a_counted_failure() {
    // A label of more than 63 characters is no name in the DNS (RFC 1035, section 2.3.4), so that nobody is asked.
    let name = "x".repeat(64);
    check_connect_fault(&format!("http://{name}.invalid:1"), "could not be resolved").await;
}

/// Who speaks TLS for 127.0.0.1 by a certificate that was made for it, and the certificate.
fn encrypted() -> (TlsAcceptor, Vec<u8>) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    (TlsAcceptor::from(Arc::new(config)), made.cert.der().to_vec())
}

/// A certificate as PEM (RFC 7468), but for the length of its line.
fn pem(der: &[u8]) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(der))
}

/// Found by reading: one that could not be looked into was taken for whole.
#[actix_web::test]
async fn an_answer_behind_which_tls_is_not_closed_is_whole_only_where_its_json_says_so() {
    let whole = json!({ "type": "message", "content": [] }).to_string();
    let (torn, coded) = (&whole[..whole.len() - 1], "content-encoding: compress\r\n");
    for (headers, said, trail) in
        [("", &*whole, "a=ok@"), ("", torn, "a=body@"), (coded, &*whole, "a=body@"), (coded, torn, "a=body@")]
    {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let base_url = format!("https://{}", listener.local_addr().unwrap());
        let (acceptor, certificate) = encrypted();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{headers}\r\n{said}");
        let serving = tokio::task::spawn_local(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = acceptor.accept(stream).await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"}") {
                assert!(stream.read_buf(&mut request).await.unwrap() > 0);
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            // Beneath TLS, which says nothing of it.
            stream.get_mut().0.shutdown().await.unwrap();
            stream
        });
        let folder = tempfile::tempdir().unwrap();
        let ca_file = folder.path().join("ca.pem");
        std::fs::write(&ca_file, pem(&certificate)).unwrap();
        let app = Setup::new()
            .section("upstream", &format!("ca_file = {ca_file:?}"))
            .section("retry", "max_attempts = 1")
            .endpoint("a", &base_url, "")
            .verified_on_demand()
            .start_in(folder)
            .await;
        let answer = app.client().await.post("/v1/messages", &[TRAFFIC], body(false)).await;
        assert!(answer.header("x-qcc-trail").unwrap().starts_with(trail), "{headers}{said}: {}", answer.text());
        drop(serving.await.unwrap());
        app.finish().await;
    }
}

#[actix_web::test]
async fn a_certificate_that_nobody_vouches_for_is_a_counted_failure() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let base_url = format!("https://{}", listener.local_addr().unwrap());
    let (acceptor, _) = encrypted();
    let serving = tokio::task::spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            assert!(acceptor.accept(stream).await.is_err(), "the handshake must fail: nobody may be talked to");
        }
    });
    check_connect_fault(&base_url, "TLS").await;
    assert!(!serving.is_finished());
    serving.abort();
}

/// However often it happens, it is never more than one failure a request, and the client gets an answer.
#[actix_web::test]
async fn resets_and_closes_isolate_after_the_threshold() {
    for (fault, patience) in [(reset(), "30s"), (close(), "30s"), (hold("never-closed").then(never_answer()), "400ms")]
    {
        let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
        a.behave(Behaviour::honest().traffic(fault));
        let app = Setup::new()
            .section("timeouts", &format!("response = {patience:?}"))
            .section("retry", "max_per_endpoint = 1")
            .primary(&a)
            .secondary(&b)
            .verified_on_demand()
            .start()
            .await;
        for failures in 1..=3 {
            assert_eq!(app.message().await.header("x-qcc-endpoint"), Some("b"));
            assert_eq!(app.row("a").await["failures"], failures);
        }
        assert_eq!(app.row("a").await["standing"], "failure");
        app.finish().await;
    }
}
