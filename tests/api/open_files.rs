//! A gateway that may open too few files. It can then reach nobody, which is no endpoint's fault.

use std::fmt::Write;

use serde_json::Value;

use crate::support::app::{TRAFFIC, body};
use crate::support::eventually::eventually;
use crate::support::process::{Process, Settings};
use crate::support::raw_client::{Answer, RawClient};
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{Behaviour, status};

/// Enough to start with, and for some connections.
const FILES: u32 = 48;

/// A gateway whose endpoints are this upstream by its address and, if that is wanted, by a name.
async fn gateway(upstream: &Upstream, and_by_name: bool) -> Process {
    let address = upstream.address();
    let mut text = "[server]\nport = 0\nworkers = 1\n[verifier]\ninitial_delay = \"1h\"\n".to_owned();
    let urls = [("address", format!("http://{address}")), ("name", format!("http://localhost:{}", address.port()))];
    for (id, url) in urls.iter().take(1 + usize::from(and_by_name)) {
        writeln!(text, "[endpoints.{id}]\nbase_url = \"{url}\"\napi_key = \"upstream-secret\"").unwrap();
    }
    Process::start(Settings::new(&text).open_files(FILES)).await
}

/// Comes until the gateway can take nobody any more, so that it has no file left.
async fn crowd(gateway: &mut Process) -> Vec<RawClient> {
    let mut crowd = Vec::new();
    for _ in 0..=FILES {
        crowd.push(RawClient::connect(gateway.address).await);
    }
    gateway.logs("no connection can be accepted").await;
    crowd
}

async fn message(client: &mut RawClient) -> Answer {
    client.post("/v1/messages", &[TRAFFIC], body(false)).await
}

async fn rows(client: &mut RawClient) -> Vec<Value> {
    client.get("/__qcc__/stats", &[]).await.json()["endpoints"].as_array().unwrap().clone()
}

#[actix_web::test]
async fn an_endpoint_that_no_file_is_left_for_keeps_its_place() {
    let upstream = Upstream::anthropic("a").await;
    let mut gateway = gateway(&upstream, true).await;
    let mut client = RawClient::connect(gateway.address).await;
    assert_eq!(rows(&mut client).await.len(), 2);
    let crowd = crowd(&mut gateway).await;
    for _ in 0..3 {
        let answer = message(&mut client).await;
        let trail = answer.header("x-qcc-trail").unwrap();
        assert_eq!(answer.status, 502, "{trail}");
        assert!(trail.split(',').all(|attempt| attempt.contains("=out_of_files@")), "{trail}");
    }
    gateway.logs("ERROR no connection to an endpoint can be opened").await;
    for row in rows(&mut client).await {
        assert_eq!((&row["standing"], &row["consecutive_failures"]), (&"primary".into(), &0.into()), "{row}");
    }
    drop(crowd);
    eventually("the next request is served", async || message(&mut client).await.status == 200).await;
}

/// What fails on a connection that is still open may be the request's fault, and nobody can be asked whether it was.
#[actix_web::test]
async fn a_second_opinion_that_can_not_be_asked_for_decides_nothing() {
    let upstream = Upstream::anthropic("a").await;
    let mut gateway = gateway(&upstream, false).await;
    let mut client = RawClient::connect(gateway.address).await;
    assert_eq!(message(&mut client).await.status, 200);
    let _crowd = crowd(&mut gateway).await;
    upstream.behave(Behaviour::always(status(500)));
    assert_eq!(message(&mut client).await.status, 500);
    let asked = "endpoint address second opinion failed error=\"no connection could be opened";
    gateway.logs(asked).await;
    upstream.behave(Behaviour::honest());
    assert_eq!(message(&mut client).await.status, 200, "it serves on, by the connection that it has");
    let row = &rows(&mut client).await[0];
    assert_eq!((&row["standing"], &row["isolated_reason"]), (&"primary".into(), &Value::Null), "{row}");
}
