//! A primary fails under load: no client sees it.

use crate::support::app::{Setup, message};
use crate::support::load;
use crate::support::raw_client::RawClient;
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{Behaviour, status};

#[actix_web::test]
async fn a_primary_that_fails_under_load_is_not_seen_by_any_client() {
    let (a, b, c) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await, Upstream::anthropic("c").await);
    let (d, e) = (Upstream::anthropic("d").await, Upstream::anthropic("e").await);
    let app =
        Setup::new().primary(&a).primary(&b).primary(&c).secondary(&d).secondary(&e).verified_on_demand().start().await;
    let total = 2000;
    let done = load::run(app.address(), total, 64, async |number, client: &mut RawClient| {
        if number == 500 {
            a.behave(Behaviour::always(status(500)));
        }
        Ok(message(client, number).await)
    })
    .await;
    assert_eq!(done.statuses().into_iter().collect::<Vec<_>>(), [(200, total)], "no client sees an error");
    assert_eq!(done.broken(), 0);

    let stats = app.stats().await;
    assert_eq!(stats["queues"]["failure"], serde_json::json!(["a"]));
    let after_isolation = a.traffic();
    let second =
        load::run(app.address(), total, 64, async |number, client: &mut RawClient| Ok(message(client, number).await))
            .await;
    assert_eq!(second.statuses().into_iter().collect::<Vec<_>>(), [(200, total)]);
    assert_eq!(a.traffic(), after_isolation, "the failed one gets nothing after its isolation");
    assert_eq!((d.total(), e.total()), (0, 0), "the secondaries stay idle");
    let shares = second.endpoints();
    let (b_share, c_share) = (shares["b"], shares["c"]);
    assert_eq!(b_share + c_share, total);
    assert!(b_share.abs_diff(c_share) <= total * 15 / 100, "uneven: {shares:?}");
    app.finish().await;
}

/// How many requests the long runs send: 10,000, or as many as `QCC_LOAD_REQUESTS` says.
fn requests() -> usize {
    std::env::var("QCC_LOAD_REQUESTS").ok().and_then(|count| count.parse().ok()).unwrap_or(10_000)
}

/// How many requests are under way at a time in the long runs.
const CONCURRENCY: usize = 32;

#[actix_web::test]
async fn an_endpoint_that_fails_for_good_gets_no_more_than_what_was_under_way() {
    let (a, b, c) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await, Upstream::anthropic("c").await);
    a.behave(Behaviour::always(status(500)));
    let app = Setup::new().primary(&a).primary(&b).primary(&c).verified_every(50).start().await;
    let total = requests();
    let done = load::run(app.address(), total, CONCURRENCY, async |number, client: &mut RawClient| {
        Ok(message(client, number).await)
    })
    .await;
    assert_eq!(done.statuses().into_iter().collect::<Vec<_>>(), [(200, total)], "no client sees an error");
    let got = a.traffic();
    assert!((3..3 + CONCURRENCY).contains(&got), "the failing endpoint got {got}");
    assert_eq!(app.row("a").await["requests"].as_u64().unwrap(), got as u64, "the endpoint's own count agrees");
    assert_eq!(app.stats().await["leaks"], 0);
    assert!(a.verifications() >= 1);
    app.finish().await;
}

#[actix_web::test]
async fn however_often_an_endpoint_fails_and_recovers_under_load_nothing_leaks() {
    let (a, b, c) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await, Upstream::anthropic("c").await);
    let app = Setup::new()
        .primary(&a)
        .primary(&b)
        .primary(&c)
        .section("verifier", "initial_delay = \"20ms\"\ninterval = \"50ms\"\nslow_start = \"20ms\"")
        .start()
        .await;
    let total = requests();
    let done = load::run(app.address(), total, CONCURRENCY, async |number, client: &mut RawClient| {
        // Broken for a twentieth of the requests, sound for the next, and so on.
        match (number / (total / 20)) % 2 {
            0 => a.behave(Behaviour::always(status(500))),
            _ => a.mend(),
        }
        Ok(message(client, number).await)
    })
    .await;
    assert_eq!(done.statuses().into_iter().collect::<Vec<_>>(), [(200, total)], "no client sees an error");
    assert_eq!(app.stats().await["leaks"], 0);
    let row = app.row("a").await;
    assert_eq!(row["requests"].as_u64().unwrap(), a.traffic() as u64, "the endpoint's own count agrees");
    let isolations = app.events().await.iter().filter(|event| event["kind"] == "isolated").count();
    assert!(isolations >= 2, "it failed only {isolations} times");
    app.finish().await;
}
