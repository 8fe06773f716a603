//! The events as they happen, for dashboards and scripts that follow them.

use serde_json::Value;

use crate::support::app::{Setup, TRAFFIC, TestApp};
use crate::support::eventually::eventually;
use crate::support::raw_client::{Ended, Event, RawClient};
use crate::support::upstream::Upstream;

const LIVE: (&str, &str) = ("accept", "text/event-stream");
/// As many as there may be at a time.
const MOST: usize = 100;

async fn started() -> (Upstream, TestApp) {
    let upstream = Upstream::anthropic("a").await;
    let app = Setup::new().primary(&upstream).verified_on_demand().start().await;
    (upstream, app)
}

/// A client that follows, behind the head of its answer.
async fn follow(mut client: RawClient, path: &str, headers: &[(&str, &str)]) -> RawClient {
    client.send_request("GET", path, &[&[LIVE], headers].concat(), b"").await;
    let head = client.answer_head().await;
    assert_eq!((head.status, head.headers.get("content-type")), (200, Some("text/event-stream")));
    assert_eq!(
        (head.headers.get("cache-control"), head.headers.get("x-accel-buffering")),
        (Some("no-store"), Some("no"))
    );
    let opening = client.event().await.unwrap();
    assert_eq!((opening.raw.as_ref(), opening.data.as_str()), (b"retry: 2000\n\n".as_slice(), ""));
    client
}

/// The next event: its number, as the field and as the row have it, and the row.
async fn next(client: &mut RawClient) -> (u64, Value) {
    let Event { name, data, raw } = client.event().await.unwrap();
    assert_eq!(name, None, "a name would need a listener of its own");
    let row: Value = serde_json::from_str(&data).unwrap();
    let seq = row["seq"].as_u64().unwrap();
    assert!(raw.starts_with(format!("id: {seq}\n").as_bytes()), "{raw:?}");
    (seq, row)
}

#[actix_web::test]
async fn events_come_as_they_happen_in_the_form_of_the_json() {
    let (_upstream, app) = started().await;
    let known = app.events().await.len() as u64;
    let mut client = follow(app.client().await, &format!("/__qcc__/events?after={known}"), &[]).await;
    for act in ["isolate", "verify", "disable", "enable"] {
        app.admin("a", act).await;
    }
    let mut told = Vec::new();
    while told.last().is_none_or(|row: &Value| row["kind"] != "enabled") {
        told.push(next(&mut client).await.1);
    }
    let all = app.events().await;
    assert_eq!(told, all[usize::try_from(known).unwrap()..]);
    let kinds: Vec<&str> = told.iter().map(|row| row["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["isolated", "verified", "recovered", "disabled", "enabled"]);
    let verified = &told[1];
    assert!(verified["ms"].is_u64() && verified["score"].as_u64() > Some(0), "{verified}");
    assert!(verified["tokens"]["input"].as_u64() > Some(0), "{verified}");
    assert_eq!(told[3]["tokens"], Value::Null);
    drop(client);
    app.finish().await;
}

#[actix_web::test]
async fn who_comes_again_gets_what_was_missed_and_the_header_goes_before_the_address() {
    let (_upstream, app) = started().await;
    let mut client = follow(app.client().await, "/__qcc__/events", &[]).await;
    let (first, _) = next(&mut client).await;
    assert_eq!(first, 1, "without a number all that is kept is told");
    drop(client);
    app.admin("a", "isolate").await;
    app.admin("a", "disable").await;
    let newest = app.events().await.len() as u64;
    for (path, headers) in [
        (format!("/__qcc__/events?after={}", newest - 1), vec![]),
        (format!("/__qcc__/events?after={newest}"), vec![("last-event-id", (newest - 1).to_string())]),
    ] {
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut client = follow(app.client().await, &path, &headers).await;
        assert_eq!(next(&mut client).await.0, newest, "{path}");
    }
    let mut stale = follow(app.client().await, "/__qcc__/events?after=1000", &[]).await;
    assert_eq!(next(&mut stale).await.0, 1, "a number of an earlier run hides nothing");
    for headers in [vec![LIVE, ("last-event-id", "x")], vec![("last-event-id", "x")]] {
        assert_eq!(app.client().await.get("/__qcc__/events", &headers).await.status, 400);
    }
    drop(stale);
    app.finish().await;
}

#[actix_web::test]
async fn there_are_only_so_many_streams_and_one_that_is_left_makes_room() {
    let (_upstream, app) = started().await;
    let mut open = Vec::new();
    for _ in 0..MOST {
        open.push(follow(app.client().await, "/__qcc__/events", &[]).await);
    }
    let refused = app.client().await.get("/__qcc__/events", &[LIVE]).await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("10")));
    assert_eq!(app.client().await.get("/__qcc__/events", &[]).await.status, 200, "as JSON they can be had");
    assert_eq!(app.message().await.status, 200, "and traffic goes on");
    open.pop();
    eventually("there is room", async || {
        let mut client = app.client().await;
        client.send_request("GET", "/__qcc__/events", &[LIVE], b"").await;
        client.answer_head().await.status == 200
    })
    .await;
    drop(open);
    app.finish().await;
}

#[actix_web::test]
async fn the_stop_ends_streams_at_once_and_in_order() {
    let upstream = Upstream::anthropic("a").await;
    // Were the grace waited for, the test would not end.
    let server = "host = \"127.0.0.1\"\nport = 0\nworkers = 1\nshutdown_grace = \"1h\"";
    let app = Setup::only().section("server", server).primary(&upstream).start().await;
    let mut client = follow(app.client().await, "/__qcc__/events?after=1", &[]).await;
    let (ended, _) = tokio::join!(async { client.rest().await }, app.finish());
    assert_eq!((ended.ended, ended.text()), (Ended::Whole, String::new()));
}

#[actix_web::test]
async fn they_are_at_the_own_routes_own_address_and_for_readers_alone() {
    let upstream = Upstream::anthropic("a").await;
    let admin = "listen = \"127.0.0.1:0\"\ntoken = \"t\"\nread_token = \"r\"";
    let app = Setup::new().primary(&upstream).section("admin", admin).start().await;
    let door = app.admin_address().unwrap();
    assert_eq!(app.client().await.get("/__qcc__/events", &[LIVE, ("authorization", "Bearer r")]).await.status, 404);
    assert_eq!(RawClient::connect(door).await.get("/__qcc__/events", &[LIVE]).await.status, 401);
    for token in ["Bearer r", "Bearer t"] {
        let mut client = follow(RawClient::connect(door).await, "/__qcc__/events", &[("authorization", token)]).await;
        assert_eq!(next(&mut client).await.1["kind"], "added");
    }
    let head = RawClient::connect(door).await.head("/__qcc__/events", &[LIVE, ("authorization", "Bearer r")]).await;
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    assert_eq!(app.client().await.get("/v1/models", &[TRAFFIC]).await.status, 200);
    app.finish().await;
}
