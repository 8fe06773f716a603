//! Requests that clients compress: looked into all the same, and passed on as they came.

use serde_json::{Value, json};

use crate::compressed::{CODINGS, coded};
use crate::support::app::{Setup, TRAFFIC, body};
use crate::support::raw_client::Ended;
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{ok, sse};

#[actix_web::test]
async fn a_compressed_request_for_a_stream_gets_one_and_its_endpoint_the_request_as_it_was() {
    let a = Upstream::anthropic("a").await;
    let app = Setup::new().primary(&a).start().await;
    for (number, coding) in CODINGS.into_iter().enumerate() {
        a.script_traffic([sse(2).finished().then_end()]);
        let sent = coded(coding, body(true).as_bytes());
        let headers = [TRAFFIC, ("content-encoding", coding)];
        let answer = app.client().await.post("/v1/messages", &headers, &sent).await;
        assert_eq!((answer.status, answer.ended), (200, Ended::Whole), "{coding}");
        assert_eq!(answer.header("x-qcc-attempts"), Some("1"), "{coding}");
        let got = &a.traffic_requests()[number];
        assert_eq!((got.header("content-encoding"), &got.body[..]), (Some(coding), &sent[..]));
    }
    app.finish().await;
}

#[actix_web::test]
async fn where_a_model_has_another_name_it_is_written_into_what_can_be_read() {
    let a = Upstream::anthropic("a").await;
    let app = Setup::new().endpoint("a", &a.base_url(), "model_map = { \"*\" = \"other\" }").start().await;
    a.script_traffic([ok()]);
    let headers = [TRAFFIC, ("content-encoding", "gzip")];
    let answer = app.client().await.post("/v1/messages", &headers, coded("gzip", body(false).as_bytes())).await;
    assert_eq!(answer.status, 200);
    let got = &a.traffic_requests()[0];
    let mut expected: Value = serde_json::from_str(&body(false)).unwrap();
    expected["model"] = json!("other");
    assert_eq!(got.header("content-encoding"), None);
    assert_eq!(serde_json::from_slice::<Value>(&got.body).unwrap(), expected);
    app.finish().await;
}

#[actix_web::test]
async fn what_would_be_longer_than_a_body_may_be_is_refused_and_what_can_not_be_read_is_the_endpoints_to_judge() {
    let a = Upstream::anthropic("a").await;
    let app = Setup::new().variable("QCC__SERVER__MAX_BODY", "64KiB").primary(&a).start().await;
    let bomb = vec![b' '; (64 << 10) + 1];
    for coding in ["gzip", "deflate", "zstd"] {
        let headers = [TRAFFIC, ("content-encoding", coding)];
        let answer = app.client().await.post("/v1/messages", &headers, coded(coding, &bomb)).await;
        assert_eq!(answer.status, 413, "{coding}");
    }
    assert_eq!(a.traffic(), 0);
    for coding in ["gzip", "compress", "gzip, br"] {
        a.script_traffic([ok()]);
        let headers = [TRAFFIC, ("content-encoding", coding)];
        assert_eq!(app.client().await.post("/v1/messages", &headers, "{torn").await.status, 200, "{coding}");
    }
    assert_eq!(a.traffic(), 3);
    a.script_traffic([sse(2).finished().then_end()]);
    let headers = [TRAFFIC, ("content-encoding", "gzip, br")];
    let answer = app.client().await.post("/v1/messages", &headers, "unreadable").await;
    assert_eq!((answer.status, answer.ended), (200, Ended::Whole), "it may have asked for a stream");
    app.finish().await;
}
