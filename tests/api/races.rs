//! News that comes late changes nothing.

use serde_json::json;

use crate::support::app::{Setup, TRAFFIC, body};
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{Behaviour, hold, ok, reset, status};

/// Two requests wait at their endpoint; meanwhile a third one isolates it.
#[actix_web::test]
async fn late_news_from_before_a_recovery_changes_nothing() {
    for (late, standing_after) in [(status(500), "primary"), (status(401), "primary"), (ok(), "primary")] {
        let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
        a.script_traffic([hold("late").then(late), status(401)]);
        let app = Setup::new().isolated_by_one_failure().primary(&a).secondary(&b).verified_on_demand().start().await;
        let mut late_client = app.client().await;
        late_client.send_request("POST", "/v1/messages", &[TRAFFIC], body(false).as_bytes()).await;
        a.gates().reached("late").await;
        assert_eq!(app.message().await.header("x-qcc-endpoint"), Some("b"));
        let isolated = app.row("a").await;
        assert_eq!(isolated["standing"], "failure");
        assert_eq!(app.admin("a", "verify").await.json()["endpoint"]["standing"], "primary");
        let recovered = app.row("a").await;
        a.gates().open("late");
        assert_eq!(late_client.answer().await.status, 200);
        let after = app.row("a").await;
        assert_eq!((&after["standing"], &after["epoch"]), (&json!(standing_after), &recovered["epoch"]));
        assert_eq!(after["consecutive_failures"], 0);
        app.finish().await;
    }
}

#[actix_web::test]
async fn a_late_success_does_not_bring_an_isolated_endpoint_back() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.script_traffic([hold("late").then(ok()), status(401)]);
    let app = Setup::new().primary(&a).secondary(&b).verified_on_demand().start().await;
    let mut late_client = app.client().await;
    late_client.send_request("POST", "/v1/messages", &[TRAFFIC], body(false).as_bytes()).await;
    a.gates().reached("late").await;
    app.message().await;
    let isolated = app.row("a").await;
    assert_eq!(
        (&isolated["in_flight"], &isolated["in_use"]),
        (&json!(1), &json!(true)),
        "an old attempt is still draining"
    );
    a.gates().open("late");
    let answer = late_client.answer().await;
    assert_eq!((answer.status, answer.header("x-qcc-endpoint")), (200, Some("a")), "what was in flight may finish");
    let after = app.row("a").await;
    assert_eq!(
        (&after["standing"], &after["epoch"], &after["in_use"]),
        (&json!("failure"), &isolated["epoch"], &json!(false))
    );
    app.finish().await;
}

#[actix_web::test]
async fn a_verification_of_an_older_isolation_does_not_bring_back_a_newer_one() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.script_verifications([hold("old").then(ok())]);
    let app = Setup::new().primary(&a).secondary(&b).verified_on_demand().start().await;
    app.admin("a", "isolate").await;
    let mut asking = app.client().await;
    asking.send_request("POST", "/__qcc__/endpoints/a/verify", &[], b"").await;
    a.gates().reached("old").await;
    app.admin("a", "disable").await;
    app.admin("a", "enable").await;
    assert_eq!(app.row("a").await["standing"], "failure");
    a.gates().open("old");
    assert_eq!(asking.answer().await.json()["ok"], false);
    assert_eq!(app.row("a").await["standing"], "failure");
    a.behave(Behaviour::honest());
    assert_eq!(app.admin("a", "verify").await.json()["ok"], true);
    assert_eq!(app.row("a").await["standing"], "primary");
    app.finish().await;
}

/// Found from outside: the trail, the counts and the budget knew nothing of the request that the endpoint had had.
#[actix_web::test]
async fn an_attempt_that_has_gone_out_is_one_though_its_endpoint_is_isolated_before_it_goes_out_once_more() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.script_traffic([ok(), hold("work").then(reset())]);
    let app = Setup::new().primary(&a).secondary(&b).verified_on_demand().start().await;
    let mut client = app.client().await;
    assert_eq!(client.post("/v1/messages", &[TRAFFIC], body(false)).await.status, 200);
    client.send_request("POST", "/v1/messages", &[TRAFFIC], body(false).as_bytes()).await;
    a.gates().reached("work").await;
    app.admin("a", "isolate").await;
    a.gates().open("work");
    let answer = client.answer().await;
    assert_eq!((answer.header("x-qcc-endpoint"), answer.header("x-qcc-attempts")), (Some("b"), Some("2")));
    assert!(answer.header("x-qcc-trail").unwrap().starts_with("a=connect@"), "{:?}", answer.header("x-qcc-trail"));
    let row = app.row("a").await;
    assert_eq!((&row["requests"], &row["successes"], a.traffic()), (&json!(2), &json!(1), 2));
    app.finish().await;
}
