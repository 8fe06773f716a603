//! What an admin can do to an endpoint, and what not.

use serde_json::json;

use crate::support::app::Setup;
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{Behaviour, status, wrong_code};

#[actix_web::test]
async fn disabling_and_enabling_does_not_launder_a_failed_endpoint() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.behave(Behaviour::always(status(401)));
    let app = Setup::new().primary(&a).secondary(&b).verified_on_demand().start().await;
    app.message().await;
    let disabled = app.admin("a", "disable").await.json();
    assert_eq!(
        (&disabled["standing"], &disabled["breaker"]),
        (&json!("disabled"), &json!("open")),
        "nothing closes it but a proof"
    );
    let enabled = app.admin("a", "enable").await.json();
    assert_eq!((&enabled["standing"], &enabled["isolated_reason"]), (&json!("failure"), &json!("credential")));
    for _ in 0..20 {
        assert_eq!(app.message().await.header("x-qcc-endpoint"), Some("b"));
    }
    assert_eq!(a.traffic(), 1);
    app.finish().await;
}

#[actix_web::test]
async fn a_disabled_endpoint_is_left_alone_and_comes_back_where_it_was() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    let app = Setup::new().primary(&a).secondary(&b).verified_every(10).start().await;
    let row = app.admin("a", "disable").await.json();
    assert_eq!(
        (&row["status"], &row["enabled"], &row["effective_weight"]),
        (&json!("disabled"), &json!(false), &json!(0.0))
    );
    for _ in 0..10 {
        assert_eq!(app.message().await.header("x-qcc-endpoint"), Some("b"));
    }
    assert_eq!(a.total(), 0);
    app.admin("a", "enable").await;
    assert_eq!(app.message().await.header("x-qcc-endpoint"), Some("a"));
    let acts: Vec<_> = app.events().await.into_iter().filter(|event| !event["by"].is_null()).collect();
    let told: Vec<_> =
        acts.iter().map(|event| (event["kind"].as_str().unwrap(), event["by"].as_str().unwrap())).collect();
    assert_eq!(told, [("disabled", "admin 127.0.0.1"), ("enabled", "admin 127.0.0.1")]);
    app.finish().await;
}

#[actix_web::test]
async fn an_admins_isolation_ends_with_the_next_verification() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    let app = Setup::new().primary(&a).secondary(&b).verified_on_demand().start().await;
    let row = app.admin("a", "isolate").await.json();
    assert_eq!((&row["standing"], &row["isolated_reason"]), (&json!("failure"), &json!("admin")));
    assert_eq!(app.message().await.header("x-qcc-endpoint"), Some("b"));
    let verdict = app.admin("a", "verify").await.json();
    assert_eq!((&verdict["ok"], &verdict["status"], &verdict["score"]), (&json!(true), &json!(200), &json!(100)));
    assert_eq!(verdict["endpoint"]["standing"], "primary", "the row is that after the recovery");
    assert_eq!(app.message().await.header("x-qcc-endpoint"), Some("a"));
    app.finish().await;
}

#[actix_web::test]
async fn verifying_an_endpoint_in_its_home_queue_leaves_it_there() {
    let a = Upstream::anthropic("a").await;
    let app = Setup::new().primary(&a).verified_on_demand().start().await;
    let before = app.row("a").await;
    a.script_verifications([wrong_code()]);
    let verdict = app.admin("a", "verify").await.json();
    assert_eq!((&verdict["ok"], &verdict["error"]), (&json!(false), &json!("the code is missing")));
    assert_eq!(app.admin("a", "verify").await.json()["ok"], true);
    let after = app.row("a").await;
    assert_eq!((&after["standing"], &after["epoch"]), (&json!("primary"), &before["epoch"]));
    assert_eq!((&before["proven"], &after["proven"]), (&json!(false), &json!(true)), "it has passed one");
    let told = app.events().await;
    let verified = told.iter().filter(|event| event["kind"] == "verified");
    assert!(verified.map(|event| &event["by"]).eq(&[json!("admin 127.0.0.1"), json!("admin 127.0.0.1")]), "{told:?}");
    app.finish().await;
}

#[actix_web::test]
async fn what_can_not_be_done_says_why() {
    let a = Upstream::anthropic("a").await;
    let off = "enabled = false\napi_key_env = \"QCC_TEST_NEVER_SET\"";
    let app = Setup::new().primary(&a).endpoint("off", "http://127.0.0.1:1", off).verified_on_demand().start().await;
    for (id, act, code, said) in [
        ("nobody", "disable", 404, "no endpoint has this id"),
        ("nobody", "verify", 404, "no endpoint has this id"),
        ("off", "enable", 409, "its credential is missing"),
        ("off", "isolate", 409, "it is disabled"),
    ] {
        let answer = app.admin(id, act).await;
        assert_eq!(answer.status, code, "{id} {act}");
        assert!(answer.json()["error"].as_str().unwrap().starts_with(said), "{}", answer.text());
    }
    let verdict = app.admin("off", "verify").await.json();
    assert_eq!(verdict["error"], "the endpoint's credential is missing");
    app.finish().await;
}
