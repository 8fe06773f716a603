//! Notices: who is told of what, how it is signed, and that nobody waits for it.

use std::collections::BTreeSet;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use qcc_gateway::actors::messages::{FinishWithin, Notify, SetWebhook};
use qcc_gateway::domain::notice::{Notice, NoticeKind};
use qcc_gateway::domain::outbox::MAX_WAITING;
use qcc_gateway::domain::secret::Secret;
use qcc_gateway::domain::time::Moment;
use qcc_gateway::domain::webhook::{Receiver, Webhook};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::app::{LOCAL, Setup, TestApp};
use crate::support::eventually::{eventually, within};
use crate::support::upstream::Upstream;
use crate::support::upstream::record::{Exchange, Recorded};
use crate::support::upstream::step::{
    Behaviour, accept_and_close, empty, hold, never_answer, status, status_and, status_with,
};

/// A receiver that takes everything.
async fn receiver(name: &str) -> Upstream {
    let receiver = Upstream::anthropic(name).await;
    receiver.behave(Behaviour::always(empty()));
    receiver
}

/// A gateway that isolates at the first failure and verifies on demand, with this receiver.
fn telling(receiver: &Upstream, events: &str) -> Setup {
    let lines = format!("url = \"{}/hook\"\nevents = {events}", receiver.base_url());
    Setup::new().section("webhook", &lines).isolated_by_one_failure().verified_on_demand()
}

const ALL: &str = r#"["isolated", "recovered", "nothing_usable", "reload_failed"]"#;

fn notices(receiver: &Upstream) -> Vec<Value> {
    receiver.requests().iter().map(Recorded::json).collect()
}

fn told(receiver: &Upstream) -> Vec<String> {
    notices(receiver).iter().map(|notice| notice["event"].as_str().unwrap().to_owned()).collect()
}

/// Tells the notifier of a reload that failed, and waits until it knows.
async fn notify(app: &TestApp, detail: &str) {
    app.core().notifier.send(Notify(Notice::reload_failed(Moment::START, detail))).await.unwrap();
}

#[actix_web::test]
async fn an_isolation_and_a_recovery_arrive_in_order_and_their_signatures_hold() {
    let (a, b, hook) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await, receiver("hook").await);
    a.behave(Behaviour::always(status(500)));
    let url = hook.base_url().replace("http://", "http://user:p%40ss@");
    let app = Setup::new()
        .variable("QCC_WEBHOOK_URL", &format!("{url}/services/x?token=y"))
        .variable("QCC_WEBHOOK_SECRET", "signing key")
        .isolated_by_one_failure()
        .verified_on_demand()
        .primary(&a)
        .secondary(&b)
        .start()
        .await;
    assert_eq!(app.message().await.status, 200);
    a.mend();
    assert_eq!(app.admin("a", "verify").await.json()["ok"], true);
    hook.received(2).await;
    let requests = hook.requests();
    for request in &requests {
        assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/services/x?token=y"));
        assert_eq!(request.header("content-type"), Some("application/json"));
        assert_eq!(request.header("authorization"), Some("Basic dXNlcjpwQHNz"));
        let signature = request.header("x-qcc-signature").unwrap().strip_prefix("sha256=").unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(b"signing key").unwrap();
        mac.update(&request.body);
        mac.verify_slice(&hex::decode(signature).unwrap()).unwrap();
    }
    let [isolated, recovered] = [requests[0].json(), requests[1].json()];
    let events = app.events().await;
    for (notice, event) in [(&isolated, "isolated"), (&recovered, "recovered")] {
        let event = events.iter().find(|its| its["kind"] == event).unwrap();
        for field in ["at", "endpoint", "model", "epoch", "reason", "detail", "by", "ms", "score"] {
            assert_eq!(notice[field], event[field], "{field}");
        }
        assert_eq!((&notice["event"], &notice["lost"]), (&event["kind"], &json!(0)));
        assert_eq!(notice["gateway"]["version"], app.stats().await["version"]);
    }
    assert_eq!(
        isolated["text"], "qcc-gateway: endpoint a is isolated (upstream_status): HTTP 500 api_error",
        "chats show it"
    );
    assert_ne!(isolated["id"], recovered["id"]);
    app.finish().await;
}

#[actix_web::test]
async fn a_notice_is_posted_again_after_an_error_or_a_closed_connection_to_the_byte() {
    let (a, hook) = (Upstream::anthropic("a").await, receiver("hook").await);
    let app = telling(&hook, r#"["isolated"]"#).primary(&a).start().await;
    hook.script([accept_and_close(), status(500)]);
    app.admin("a", "isolate").await;
    hook.received(2).await;
    let requests = hook.requests();
    assert_eq!(requests[0].body, requests[1].body);
    app.finish().await;
    assert_eq!((hook.total(), hook.connections()), (2, 2), "the connection of an answered one is kept");
}

#[actix_web::test]
async fn a_receiver_that_refuses_connections_is_told_when_it_is_back() {
    let (a, hook) = (Upstream::anthropic("a").await, receiver("hook").await);
    let app = telling(&hook, r#"["isolated", "recovered"]"#).primary(&a).start().await;
    hook.down().await;
    app.admin("a", "isolate").await;
    app.admin("a", "verify").await;
    // What nobody wants to know changes nothing, but comes after the isolation.
    notify(&app, "unwanted").await;
    notify(&app, "unwanted").await;
    hook.up();
    hook.received(2).await;
    assert_eq!(told(&hook), ["isolated", "recovered"]);
    app.finish().await;
}

#[actix_web::test]
async fn one_that_the_receiver_does_not_want_is_given_up_and_the_next_tells_so() {
    let elsewhere = receiver("elsewhere").await;
    let moved = status_with(302, &[("location", &elsewhere.base_url())], "");
    for refusal in [status(400), status(404), moved] {
        let (a, hook) = (Upstream::anthropic("a").await, receiver("hook").await);
        let app = telling(&hook, ALL).primary(&a).start().await;
        hook.script([refusal]);
        notify(&app, "first").await;
        notify(&app, "second").await;
        hook.received(2).await;
        app.finish().await;
        let notices = notices(&hook);
        assert_eq!(notices.len(), 2);
        assert_eq!((&notices[0]["detail"], &notices[0]["lost"]), (&json!("first"), &json!(0)));
        assert_eq!((&notices[1]["detail"], &notices[1]["lost"]), (&json!("second"), &json!(1)));
    }
    assert_eq!(elsewhere.total(), 0, "redirects are not followed");
}

#[actix_web::test]
async fn a_receiver_that_asks_to_be_left_alone_is_left_alone_and_told_before_the_end() {
    let (a, hook) = (Upstream::anthropic("a").await, receiver("hook").await);
    let app = telling(&hook, ALL).primary(&a).start().await;
    hook.script([status_and(429, &[("retry-after", "600")])]);
    notify(&app, "x").await;
    hook.received(1).await;
    eventually("its answer is taken in", async || {
        notify(&app, "y").await;
        hook.requests()[0].exchange() == Exchange::Answered
    })
    .await;
    assert_eq!(hook.total(), 1);
    app.finish().await;
    assert!(hook.total() > 1, "a gateway that stops has no time to wait");
}

#[actix_web::test]
async fn a_receiver_that_hangs_delays_no_request_no_move_and_no_stop() {
    let (a, b, hook) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await, receiver("hook").await);
    hook.behave(Behaviour::always(never_answer()));
    let app = telling(&hook, ALL).primary(&a).secondary(&b).start().await;
    a.script_traffic([status(500)]);
    assert_eq!(app.message().await.header("x-qcc-endpoint"), Some("b"));
    hook.received(1).await;
    for _ in 0..50 {
        assert_eq!(app.message().await.header("x-qcc-endpoint"), Some("b"));
    }
    assert_eq!(app.admin("a", "verify").await.json()["ok"], true);
    assert_eq!(app.message().await.header("x-qcc-endpoint"), Some("a"));
    within("it stops", app.finish()).await;
    assert_eq!(told(&hook), ["isolated"], "one at a time");
}

#[actix_web::test]
async fn more_notices_than_the_bound_are_dropped_from_the_oldest_and_counted() {
    let (a, hook) = (Upstream::anthropic("a").await, receiver("hook").await);
    let app = telling(&hook, ALL).primary(&a).start().await;
    hook.script([hold("first").then(empty())]);
    let sent = MAX_WAITING + 44;
    for number in 0..sent {
        notify(&app, &number.to_string()).await;
    }
    hook.gates().open("first");
    hook.received(MAX_WAITING).await;
    let notices = notices(&hook);
    let detail = |number: usize| notices[number]["detail"].as_str().unwrap().parse::<usize>().unwrap();
    assert_eq!((detail(0), detail(1), detail(MAX_WAITING - 1)), (0, 45, sent - 1));
    let lost: Vec<&Value> = notices.iter().map(|notice| &notice["lost"]).take(3).collect();
    assert_eq!(lost, [0, 44, 0]);
    hook.behave(Behaviour::always(status(410)));
    notify(&app, "unwanted").await;
    eventually("all that is lost is told", async || app.stats().await["notices_lost"] == 45).await;
    let metrics = app.client().await.get("/__qcc__/metrics", &LOCAL).await.text();
    assert!(metrics.contains("\nqcc_notices_lost_total 45\n"), "{metrics}");
    app.finish().await;
    assert_eq!(hook.total(), MAX_WAITING + 1);
}

#[actix_web::test]
async fn nothing_usable_is_told_once_an_outage() {
    let (a, hook) = (Upstream::anthropic("a").await, receiver("hook").await);
    let app = telling(&hook, r#"["nothing_usable"]"#).section("retry", "park = \"0s\"").primary(&a).start().await;
    for outage in 1..=2 {
        a.behave(Behaviour::always(status(401)));
        for _ in 0..5 {
            assert!(app.message().await.status >= 502);
        }
        assert_eq!(app.admin("a", "verify").await.json()["ok"], false);
        let notice = hook.received(outage).await.json();
        assert_eq!(
            (&notice["profile"], &notice["protocol"], &notice["endpoints"], &notice["isolated"]),
            (&json!("default"), &json!("anthropic"), &json!(1), &json!(1))
        );
        a.mend();
        assert_eq!(app.admin("a", "verify").await.json()["ok"], true);
        assert_eq!(app.message().await.status, 200);
    }
    app.finish().await;
    assert_eq!(told(&hook), ["nothing_usable", "nothing_usable"]);
}

#[actix_web::test]
async fn a_start_without_a_usable_endpoint_is_told() {
    let (a, hook) = (Upstream::anthropic("a").await, receiver("hook").await);
    let app = telling(&hook, ALL).endpoint("a", &a.base_url(), "enabled = false").start().await;
    let notice = hook.received(1).await.json();
    assert_eq!((&notice["event"], &notice["isolated"]), (&json!("nothing_usable"), &json!(0)));
    app.finish().await;
}

#[actix_web::test]
async fn only_what_is_wanted_is_told() {
    let (a, b, hook) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await, receiver("hook").await);
    let app = telling(&hook, r#"["recovered", "disabled", "verified"]"#).primary(&a).primary(&b).start().await;
    app.admin("a", "isolate").await;
    app.admin("a", "verify").await;
    app.admin("b", "disable").await;
    app.admin("b", "enable").await;
    hook.received(3).await;
    app.finish().await;
    let mut told = told(&hook);
    told.sort();
    assert_eq!(told, ["disabled", "recovered", "verified"]);
}

fn webhook(receiver: &Upstream, secret: Option<&str>) -> Webhook {
    Webhook {
        receiver: Receiver::parse(&receiver.base_url()).unwrap(),
        secret: secret.map(Secret::new),
        events: BTreeSet::from([NoticeKind::ReloadFailed]),
    }
}

#[actix_web::test]
async fn another_receiver_takes_over_what_the_old_one_has_not_taken() {
    async fn set(app: &TestApp, webhook: Option<Webhook>) {
        app.core().notifier.send(SetWebhook(webhook)).await.unwrap();
    }
    let (a, old, new) = (Upstream::anthropic("a").await, receiver("old").await, receiver("new").await);
    let app = telling(&old, ALL).primary(&a).start().await;
    old.behave(Behaviour::always(never_answer()));
    notify(&app, "first").await;
    let first = old.received(1).await;
    assert_eq!(first.header("x-qcc-signature"), None, "there is no key");
    app.admin("a", "isolate").await;
    set(&app, Some(webhook(&new, Some("key")))).await;
    first.closed_by_peer().await;
    let taken = new.received(1).await;
    assert_eq!(taken.body, first.body);
    assert!(taken.header("x-qcc-signature").is_some());
    notify(&app, "second").await;
    assert_eq!(new.received(2).await.json()["detail"], "second", "the new one does not want isolations");
    set(&app, None).await;
    notify(&app, "third").await;
    set(&app, Some(webhook(&new, None))).await;
    notify(&app, "fourth").await;
    assert_eq!(new.received(3).await.json()["detail"], "fourth", "nothing is kept for nobody");
    app.finish().await;
    assert_eq!(old.total(), 1);
}

#[actix_web::test]
async fn what_waits_is_delivered_before_the_gateway_is_gone() {
    let (a, hook) = (Upstream::anthropic("a").await, receiver("hook").await);
    let app = telling(&hook, ALL).primary(&a).start().await;
    for number in 0..20 {
        notify(&app, &number.to_string()).await;
    }
    app.finish().await;
    assert_eq!(hook.total(), 20);
}

#[actix_web::test]
async fn without_a_notifier_everything_else_goes_on() {
    let (a, b, hook) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await, receiver("hook").await);
    let app = telling(&hook, ALL).primary(&a).secondary(&b).start().await;
    app.core().notifier.send(FinishWithin(Duration::ZERO)).await.unwrap();
    a.script_traffic([status(500)]);
    assert_eq!(app.message().await.header("x-qcc-endpoint"), Some("b"));
    assert_eq!(app.admin("a", "verify").await.json()["ok"], true);
    assert_eq!(app.message().await.header("x-qcc-endpoint"), Some("a"));
    app.finish().await;
    assert_eq!(hook.total(), 0);
}

#[actix_web::test]
async fn a_reload_that_fails_is_told_and_one_that_succeeds_may_bring_another_receiver() {
    let a = Upstream::anthropic("a").await;
    let (old, new) = (receiver("old").await, receiver("new").await);
    let app = telling(&old, ALL).primary(&a).start().await;
    let faulty = telling(&new, ALL).primary(&a).section("retry", "max_attempts = \"many\"");
    assert_eq!(app.reload(faulty).await.status, 422);
    let notice = old.received(1).await.json();
    assert_eq!((&notice["event"], &notice["endpoint"]), (&json!("reload_failed"), &json!(null)));
    assert!(notice["detail"].as_str().unwrap().starts_with("retry.max_attempts ("), "{notice}");
    let answer = app.reload(telling(&new, r#"["reload", "isolated"]"#).primary(&a)).await.json();
    assert_eq!(answer["settings"], json!(["webhook.events", "webhook.url"]));
    assert_eq!(answer["needs_restart"], json!([]));
    app.admin("a", "isolate").await;
    new.received(2).await;
    app.finish().await;
    assert_eq!(told(&new), ["reload", "isolated"]);
    assert_eq!(
        notices(&new)[0]["text"],
        "qcc-gateway: the gateway has read its settings anew: settings: webhook.events webhook.url"
    );
    assert_eq!(old.total(), 1);
}
