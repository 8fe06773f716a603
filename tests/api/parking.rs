//! Waiting for an endpoint that may come, and what a request does meanwhile.

use std::time::Duration;

use crate::support::app::{Setup, TRAFFIC, body};
use crate::support::eventually::{eventually, now};
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{Behaviour, hold, ok, status};

/// Verifications that would come in an hour, but that requests may hasten.
const HASTENED: &str = "initial_delay = \"100ms\"\nmultiplier = 1000.0\ninterval = \"1h\"\njitter = 0.0";

#[actix_web::test]
async fn a_request_that_finds_no_endpoint_has_one_verified_at_once_and_is_served_by_it() {
    let a = Upstream::anthropic("a").await;
    a.script_traffic([status(401)]);
    let app = Setup::new().isolated_by_one_failure().primary(&a).verified_on_demand().start().await;
    // An admin's isolation is one that requests wait for.
    assert_eq!(app.admin("a", "isolate").await.status, 200);
    a.mend();
    let began = now();
    let answer = app.message().await;
    assert_eq!((answer.status, answer.header("x-qcc-endpoint")), (200, Some("a")));
    assert!(began.elapsed() < Duration::from_secs(5), "not in an hour: {:?}", began.elapsed());
    assert_eq!(a.verifications(), 1);
    app.finish().await;
}

#[actix_web::test]
async fn while_it_stays_broken_it_is_verified_no_more_often_than_every_first_delay() {
    let a = Upstream::anthropic("a").await;
    a.behave(Behaviour::always(status(500)));
    let app = Setup::new()
        .isolated_by_one_failure()
        .primary(&a)
        .section("verifier", HASTENED)
        .section("retry", "park = \"1s\"")
        .start()
        .await;
    let began = now();
    let answer = app.message().await;
    assert_eq!(answer.status, 500, "the last answer is passed on");
    let waited = began.elapsed();
    assert!(waited >= Duration::from_millis(900), "{waited:?}");
    let most = 2 + waited.as_millis() / 100;
    let verified = a.verifications() as u128;
    assert!((3..=most).contains(&verified), "{verified} verifications in {waited:?}");
    app.finish().await;
}

#[actix_web::test]
async fn a_parked_request_is_served_as_soon_as_an_endpoint_has_recovered() {
    let a = Upstream::anthropic("a").await;
    a.behave(Behaviour::honest().traffic(status(500)).verifications(hold("g").then(ok())));
    let app = Setup::new().isolated_by_one_failure().primary(&a).verified_on_demand().start().await;
    let (answer, ()) = tokio::join!(app.message(), async {
        eventually("it waits", async || app.stats().await["parked"] == 1).await;
        assert_eq!(app.row("a").await["breaker"], "half_open");
        a.behave(Behaviour::honest());
        a.gates().open("g");
    });
    assert_eq!((answer.status, answer.header("x-qcc-attempts")), (200, Some("2")));
    assert_eq!(app.stats().await["parked"], 0);
    app.finish().await;
}

#[actix_web::test]
async fn where_nothing_can_come_in_time_a_request_is_refused_at_once() {
    let a = Upstream::anthropic("a").await;
    a.behave(Behaviour::always(status(500)));
    let app = Setup::new().isolated_by_one_failure().primary(&a).verified_on_demand().start().await;
    app.message().await;
    eventually("a verification has failed", async || app.row("a").await["verify_count"].as_u64() >= Some(1)).await;
    let began = now();
    let refused = app.message().await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("59")));
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    app.finish().await;
}

#[actix_web::test]
async fn a_client_that_leaves_while_it_is_parked_frees_its_place() {
    let a = Upstream::anthropic("a").await;
    a.behave(Behaviour::honest().verifications(hold("g").then(ok())));
    let app = Setup::new()
        .isolated_by_one_failure()
        .primary(&a)
        .section("retry", "park_max = 1")
        .verified_on_demand()
        .start()
        .await;
    app.admin("a", "isolate").await;
    let mut leaving = app.client().await;
    leaving.send_request("POST", "/v1/messages", &[TRAFFIC], body(false).as_bytes()).await;
    eventually("it is parked", async || app.stats().await["parked"] == 1).await;
    assert_eq!(app.message().await.status, 503, "there is one place");
    leaving.hang_up();
    eventually("its place is free", async || app.stats().await["parked"] == 0).await;
    a.gates().open("g");
    assert_eq!(app.message().await.status, 200);
    app.finish().await;
}

#[actix_web::test]
async fn a_parked_request_is_refused_when_its_allowance_is_spent() {
    let a = Upstream::anthropic("a").await;
    a.behave(Behaviour::honest().verifications(hold("g").then(ok())));
    let app = Setup::new()
        .isolated_by_one_failure()
        .primary(&a)
        .section("retry", "park = \"500ms\"")
        .verified_on_demand()
        .start()
        .await;
    app.admin("a", "isolate").await;
    let began = now();
    let refused = app.message().await;
    assert_eq!(refused.status, 503);
    assert!(began.elapsed() >= Duration::from_millis(400), "it had waited");
    app.finish().await;
}

/// Once wrong: they waited on for verifications that nobody held any more.
#[actix_web::test]
async fn a_parked_request_is_refused_when_the_gateway_stops() {
    let a = Upstream::anthropic("a").await;
    a.behave(Behaviour::honest().verifications(hold("never").then(ok())));
    let app = Setup::new()
        .isolated_by_one_failure()
        .primary(&a)
        .section("retry", "park = \"1m\"")
        .verified_on_demand()
        .start()
        .await;
    app.admin("a", "isolate").await;
    let mut parked = app.client().await;
    parked.send_request("POST", "/v1/messages", &[TRAFFIC], body(false).as_bytes()).await;
    eventually("it is parked", async || app.stats().await["parked"] == 1).await;
    let (refused, _) = tokio::join!(parked.answer(), app.finish());
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert_eq!(refused.header("connection"), Some("close"));
    assert!(refused.text().contains("stopping"), "{}", refused.text());
}
