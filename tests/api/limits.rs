//! Rate limits and overloads: an endpoint rests in its home queue, and nobody is isolated for it.

use std::time::Duration;

use serde_json::json;

use crate::support::app::{Setup, TRAFFIC, body, message};
use crate::support::eventually::{eventually, now};
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{Behaviour, error, hold, ok, status, status_and};

#[actix_web::test]
async fn a_rate_limited_endpoint_rests_for_its_model_and_is_shown_so() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.script_traffic([status_and(429, &[("retry-after", "60")])]);
    let app = Setup::new().primary(&a).secondary(&b).verified_on_demand().start().await;
    let mut client = app.client().await;
    assert_eq!(message(&mut client, 0).await.header("x-qcc-endpoint"), Some("b"));
    let row = app.row("a").await;
    assert_eq!(
        (&row["standing"], &row["status"], &row["failures"]),
        (&json!("primary"), &json!("degraded"), &json!(0))
    );
    assert_eq!(row["cooldowns"][0]["model"], "claude-haiku-4-5");
    assert_eq!(row["cooldowns"][0]["reason"], "rate_limit");
    let event = app.events().await.into_iter().find(|event| event["kind"] == "cooldown").unwrap();
    assert_eq!((&event["endpoint"], &event["detail"]), (&json!("a"), &json!("rate_limit")));
    for number in 1..5 {
        assert_eq!(message(&mut client, number).await.header("x-qcc-endpoint"), Some("b"));
    }
    let other = body(false).replace("claude-haiku-4-5", "claude-opus-4-5");
    let other = client.post("/v1/messages", &[TRAFFIC], other).await;
    assert_eq!(other.header("x-qcc-endpoint"), Some("a"), "another model does not rest");
    app.finish().await;
}

#[actix_web::test]
async fn a_rate_limited_endpoint_rests_until_the_named_time() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.script_traffic([status_and(429, &[("retry-after", "1")])]);
    let app = Setup::new().primary(&a).secondary(&b).verified_on_demand().start().await;
    let mut client = app.client().await;
    let began = now();
    assert_eq!(message(&mut client, 0).await.header("x-qcc-endpoint"), Some("b"));
    eventually("the end of the cooldown", async || message(&mut client, 1).await.header("x-qcc-endpoint") == Some("a"))
        .await;
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    app.finish().await;
}

#[actix_web::test]
async fn a_request_waits_for_a_cooldown_that_ends_within_its_parking() {
    let a = Upstream::anthropic("a").await;
    a.script_traffic([status_and(429, &[("retry-after-ms", "600")])]);
    let app = Setup::new().primary(&a).verified_on_demand().start().await;
    let began = now();
    let answer = app.message().await;
    assert_eq!((answer.status, answer.header("x-qcc-attempts")), (200, Some("2")));
    assert!(began.elapsed() >= Duration::from_millis(500), "{:?}", began.elapsed());
    app.finish().await;
}

/// Once wrong: it waited, and got its answer when its client was gone.
#[actix_web::test]
async fn a_request_waits_for_nothing_that_comes_when_its_client_is_gone() {
    for limited in [status_and(429, &[("retry-after", "3")]), status_and(529, &[("retry-after", "3")])] {
        let a = Upstream::anthropic("a").await;
        a.script_traffic([limited]);
        let app = Setup::new().primary(&a).verified_on_demand().start().await;
        // Of these six the gateway has one.
        let headers = [TRAFFIC, ("x-stainless-timeout", "6")];
        let answer = app.client().await.post("/v1/messages", &headers, body(false)).await;
        assert!(matches!(answer.status, 429 | 503), "{}", answer.status);
        assert_eq!(a.traffic(), 1);
        app.finish().await;
    }
}

#[actix_web::test]
async fn with_all_in_a_cooldown_clients_are_told_when_to_come_again() {
    let a = Upstream::anthropic("a").await;
    a.script_traffic([status_and(429, &[("retry-after", "30")])]);
    let app = Setup::new().primary(&a).verified_on_demand().start().await;
    let mut client = app.client().await;
    let passed_on = message(&mut client, 0).await;
    assert_eq!((passed_on.status, passed_on.header("retry-after")), (429, Some("30")));
    let refused = message(&mut client, 1).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("30")));
    assert_eq!(refused.json()["error"]["type"], "rate_limit_error");
    assert_eq!(refused.header("x-qcc-endpoint"), None);
    assert_eq!(a.traffic(), 1);
    assert_eq!(app.stats().await["failed_requests"], 2);
    app.finish().await;
}

#[actix_web::test]
async fn a_used_up_window_is_told_so_and_ends_early_when_a_verification_passes() {
    let a = Upstream::anthropic("a").await;
    // What the provider says of trying again says nothing of a time that has been made shorter.
    a.script_traffic([status_and(429, &[("retry-after", "7200"), ("x-should-retry", "true")])]);
    let app = Setup::new()
        .primary(&a)
        .section("verifier", "initial_delay = \"1h\"\ninterval = \"1h\"\ninterval_account = \"300ms\"\njitter = 0.0")
        .start()
        .await;
    let mut client = app.client().await;
    // Who finds it out is not to wait either.
    let passed_on = message(&mut client, 0).await;
    assert_eq!((passed_on.header("x-qcc-endpoint"), passed_on.header("x-should-retry")), (Some("a"), Some("false")));
    let refused = message(&mut client, 1).await;
    assert_eq!((refused.status, refused.header("x-should-retry")), (429, Some("false")));
    assert!(refused.header("retry-after").is_none());
    assert!(refused.text().contains("the first is back in 2 h"), "{}", refused.text());
    assert_eq!(app.row("a").await["status"], "exhausted");
    eventually("the early return", async || app.row("a").await["cooldowns"] == json!([])).await;
    assert_eq!(message(&mut client, 2).await.status, 200);
    assert!(a.verifications() >= 1);
    assert!(app.events().await.iter().any(|event| event["kind"] == "exhausted"));
    app.finish().await;
}

/// Found by reading: an answer of the model that `verifier.model` names ended each used-up window, and the next request met its 429 again.
#[actix_web::test]
async fn a_used_up_window_ends_early_only_by_an_answer_of_its_own_model() {
    let a = Upstream::anthropic("a").await;
    let used_up = || status_and(429, &[("retry-after", "7200")]);
    a.script_traffic([used_up(), used_up()]);
    a.script_verifications([used_up(), ok(), hold("opus").then(ok())]);
    let verifier = "model = \"claude-sonnet-4-5\"\ninitial_delay = \"1h\"\ninterval = \"1h\"\n\
                    interval_account = \"200ms\"\njitter = 0.0";
    let app = Setup::new().primary(&a).section("verifier", verifier).start().await;
    let mut client = app.client().await;
    let mut ask = async |model: &str| {
        client.post("/v1/messages", &[TRAFFIC], body(false).replace("claude-haiku-4-5", model)).await.status
    };
    assert_eq!((ask("opus").await, ask("haiku").await), (429, 429));
    let resting = async || -> Vec<_> {
        let row = app.row("a").await;
        row["cooldowns"].as_array().unwrap().iter().map(|cooldown| cooldown["model"].clone()).collect()
    };
    eventually("one window's early end", async || resting().await == [json!("opus")]).await;
    assert_eq!((ask("opus").await, ask("haiku").await), (429, 200));
    a.gates().open("opus");
    eventually("the other one's", async || resting().await.is_empty()).await;
    let asked: Vec<_> = a.verification_requests().iter().map(|asked| asked.json()["model"].clone()).collect();
    assert_eq!(asked, ["opus", "haiku", "opus"]);
    app.finish().await;
}

#[actix_web::test]
async fn a_limit_without_a_time_rests_the_endpoint_only_when_two_sessions_meet_it() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    let app = Setup::new().primary(&a).secondary(&b).verified_on_demand().start().await;
    let mut client = app.client().await;
    let mut send = async |session: &str| {
        let headers = [TRAFFIC, ("x-claude-code-session-id", session)];
        client.post("/v1/messages", &headers, body(false)).await.header("x-qcc-endpoint").map(str::to_owned)
    };
    a.script_traffic([status(429)]);
    assert_eq!(send("one").await.as_deref(), Some("b"));
    assert_eq!(app.row("a").await["cooldowns"], json!([]), "perhaps the request's own fault");
    assert_eq!(send("other").await.as_deref(), Some("a"));
    a.script_traffic([status(429), status(429)]);
    send("third").await;
    send("fourth").await;
    assert_eq!(app.row("a").await["cooldowns"][0]["reason"], "rate_limit");
    app.finish().await;
}

#[actix_web::test]
async fn an_overload_is_waited_out_and_no_attempt_of_it_is_counted() {
    let a = Upstream::anthropic("a").await;
    a.script_traffic((0..12).map(|_| error(529, "overloaded_error", "Overloaded")));
    let app = Setup::new()
        .primary(&a)
        .section("overload", "cooldown = \"10ms\"\ncooldown_max = \"40ms\"")
        .section("retry", "max_attempts = 3")
        .verified_on_demand()
        .start()
        .await;
    let answer = app.message().await;
    assert_eq!((answer.status, answer.header("x-qcc-attempts")), (200, Some("13")));
    let row = app.row("a").await;
    assert_eq!((&row["standing"], &row["failures"]), (&json!("primary"), &json!(0)));
    app.finish().await;
}

#[actix_web::test]
async fn an_overload_beyond_the_deadline_is_the_gateways_own_503_with_the_providers_words() {
    let a = Upstream::anthropic("a").await;
    a.behave(Behaviour::always(error(529, "overloaded_error", "Much too busy")));
    let app = Setup::new()
        .primary(&a)
        .section("overload", "cooldown = \"20ms\"\ncooldown_max = \"50ms\"")
        .section("retry", "deadline = \"300ms\"")
        .verified_on_demand()
        .start()
        .await;
    let answer = app.message().await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("10")));
    let error = &answer.json()["error"];
    assert_eq!(error["type"], "api_error");
    assert!(error["message"].as_str().unwrap().contains("Much too busy"), "{error}");
    app.finish().await;
}

#[actix_web::test]
async fn overloaded_for_long_without_one_success_isolates() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.behave(Behaviour::always(status(529)));
    let app = Setup::new()
        .primary(&a)
        .secondary(&b)
        .section("overload", "cooldown = \"10ms\"\ncooldown_max = \"20ms\"\nisolate_after = \"300ms\"")
        .verified_on_demand()
        .start()
        .await;
    let mut client = app.client().await;
    eventually("the isolation", async || {
        assert_eq!(message(&mut client, 0).await.status, 200);
        app.row("a").await["standing"] == "failure"
    })
    .await;
    assert_eq!(app.row("a").await["isolated_reason"], "overloaded");
    app.finish().await;
}

#[actix_web::test]
async fn a_full_endpoint_is_waited_for_first_come_first_served() {
    let a = Upstream::anthropic("a").await;
    a.behave(Behaviour::honest().traffic(hold("g").then(ok())));
    let app = Setup::new()
        .endpoint("a", &a.base_url(), "max_in_flight = 1")
        .section("retry", "park = \"400ms\"")
        .verified_on_demand()
        .start()
        .await;
    let send = async || app.message().await;
    let (first, second, ()) = tokio::join!(send(), send(), async {
        a.gates().reached("g").await;
        eventually("one waits", async || app.stats().await["parked"] == 1).await;
        a.received(1).await;
        assert_eq!(a.traffic(), 1);
        a.gates().open("g");
    });
    assert_eq!((first.status, second.status), (200, 200));
    app.finish().await;

    a.behave(Behaviour::honest().traffic(hold("never").then(ok())));
    let app = Setup::new()
        .endpoint("a", &a.base_url(), "max_in_flight = 1")
        .section("retry", "park = \"100ms\"")
        .verified_on_demand()
        .start()
        .await;
    let ((), refused) = tokio::join!(
        async {
            let answer = app.message().await;
            assert_eq!(answer.status, 200);
        },
        async {
            eventually("one is served", async || app.row("a").await["in_flight"] == 1).await;
            let refused = app.message().await;
            a.gates().open("never");
            refused
        }
    );
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    app.finish().await;
}

/// A provider in trouble: each of its accounts answers 529 to half of all requests for a while. Forty clients that never try
/// again by themselves hardly notice.
#[actix_web::test]
async fn a_bad_quarter_of_an_hour_fails_hardly_a_request_and_isolates_nobody() {
    const CLIENTS: u64 = 40;
    const LASTS: Duration = Duration::from_secs(4);
    let upstreams = [Upstream::anthropic("a").await, Upstream::anthropic("b").await, Upstream::anthropic("c").await];
    let mut rng = fastrand::Rng::with_seed(7);
    for upstream in &upstreams {
        let steps: Vec<_> = (0..60_000).map(|_| if rng.bool() { ok() } else { status(529) }).collect();
        upstream.script_traffic(steps);
    }
    // All times are those of the default settings, scaled down by thirty.
    let mut setup = Setup::new()
        .section("overload", "cooldown = \"67ms\"\ncooldown_max = \"1s\"\nisolate_after = \"4s\"")
        .section("retry", "deadline = \"4s\"\npark = \"333ms\"")
        .verified_on_demand();
    for upstream in &upstreams {
        setup = setup.primary(upstream);
    }
    let app = setup.start().await;
    let began = now();
    let clients = (0..CLIENTS).map(async |client| {
        let mut connection = app.client().await;
        let (mut served, mut failed) = (0_u32, 0_u32);
        let mut rng = fastrand::Rng::with_seed(client);
        while began.elapsed() < LASTS {
            if message(&mut connection, 0).await.status == 200 {
                served += 1;
            } else {
                failed += 1;
            }
            tokio::time::sleep(Duration::from_millis(rng.u64(10..60))).await;
        }
        (served, failed)
    });
    let ends = futures_util::future::join_all(clients).await;
    let (served, failed) = ends.into_iter().fold((0, 0), |(a, b), (served, failed)| (a + served, b + failed));
    assert!(failed * 100 < served + failed, "{failed} of {} failed", served + failed);
    assert!(served > 400, "only {served} were served");
    assert_eq!(app.stats().await["queues"]["failure"], json!([]));
    assert!(!app.events().await.iter().any(|event| event["kind"] == "isolated"));
    app.finish().await;
}
