//! The only way back: a test conversation that the endpoint passes.

use std::time::Duration;

use serde_json::json;

use crate::support::app::{Setup, TRAFFIC, body, message};
use crate::support::eventually::{eventually, now};
use crate::support::streaming::STREAM_HEAD;
use crate::support::upstream::step::{Behaviour, echo, error, hold, never_answer, ok, raw, sse, status, wrong_code};
use crate::support::upstream::{Protocol, Upstream};

#[actix_web::test]
async fn a_mended_endpoint_comes_back_by_its_next_verification_with_a_growing_share() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.behave(Behaviour::always(status(500)));
    let app = Setup::new()
        .primary(&a)
        .primary(&b)
        .isolated_by_one_failure()
        .section("verifier", "initial_delay = \"40ms\"\ninterval = \"40ms\"\njitter = 0.0\nslow_start = \"1500ms\"")
        .start()
        .await;
    let mut client = app.client().await;
    message(&mut client, 0).await;
    message(&mut client, 1).await;
    assert_eq!(app.row("a").await["standing"], "failure");
    eventually("some failed verifications", async || a.verifications() >= 3).await;
    let failed_before = a.traffic();

    a.mend();
    eventually("the recovery", async || app.row("a").await["standing"] == "primary").await;
    let row = app.row("a").await;
    assert_eq!(
        (&row["breaker"], &row["consecutive_failures"], &row["status"]),
        (&json!("closed"), &json!(0), &json!("degraded"))
    );
    assert!(row["effective_weight"].as_f64().unwrap() < 100.0);
    assert_eq!(row["last_verification"]["ok"], true);
    assert_eq!(row["verify_count"].as_u64().unwrap(), a.verifications() as u64);
    assert_eq!(row["isolated_at"], json!(null));

    let share = async |client: &mut _| {
        let (a_before, b_before) = (a.traffic(), b.traffic());
        for number in 0..200 {
            assert_eq!(message(client, number).await.status, 200);
        }
        let (a, b) = (a.traffic() - a_before, b.traffic() - b_before);
        assert_eq!(a + b, 200);
        a
    };
    let early = share(&mut client).await;
    assert!((1..95).contains(&early), "a recovered endpoint begins with a small share, not {early} of 200");
    eventually("the end of the slow start", async || app.row("a").await["effective_weight"] == 100.0).await;
    let late = share(&mut client).await;
    assert!((95..=105).contains(&late), "then it has its whole share, not {late} of 200");
    assert!(failed_before < a.traffic());
    let recovered = app.events().await.into_iter().find(|event| event["kind"] == "recovered").unwrap();
    assert_eq!(recovered["score"], 100);
    app.finish().await;
}

#[actix_web::test]
async fn a_wrong_code_and_an_echo_do_not_bring_it_back() {
    for (lie, why) in [
        (wrong_code(), "the code is missing"),
        (echo(), "the code is missing"),
        (status(429), "HTTP 429 rate_limit_error"),
    ] {
        let upstream = Upstream::anthropic("a").await;
        upstream.behave(Behaviour::always(lie).traffic(status(401)));
        let app = Setup::new().primary(&upstream).verified_every(10).start().await;
        app.message().await;
        eventually("several verifications", async || upstream.verifications() >= 4).await;
        let row = app.row("a").await;
        assert_eq!((&row["standing"], &row["last_verification"]["error"]), (&json!("failure"), &json!(why)));
        assert_eq!(row["last_verification"]["score"], 0);
        assert_eq!(upstream.traffic(), 1);
        app.finish().await;
    }
}

#[actix_web::test]
async fn an_openai_endpoint_is_verified_in_its_own_protocol_and_dialect() {
    let upstream = Upstream::openai("o").await;
    upstream.behave(Behaviour::honest().traffic(error(401, "invalid_request_error", "Incorrect API key provided.")));
    let refusal =
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.";
    upstream.script_verifications([error(400, "invalid_request_error", refusal)]);
    let app = Setup::new()
        .isolated_by_one_failure()
        .endpoint("o", &upstream.base_url(), "protocol = \"openai\"")
        .verified_on_demand()
        .start()
        .await;
    let body = json!({ "model": "gpt-x", "messages": [{ "role": "user", "content": "hi" }] }).to_string();
    let answer = app.client().await.post("/v1/chat/completions", &[("x-traffic", "1")], body).await;
    assert_eq!((answer.status, app.row("o").await["standing"].as_str()), (502, Some("failure")));
    let verdict = app.admin("o", "verify").await.json();
    assert_eq!((&verdict["ok"], &verdict["endpoint"]["standing"]), (&json!(true), &json!("primary")), "{verdict}");
    let asked = upstream.verification_requests();
    assert_eq!(asked[0].target, "/v1/chat/completions");
    assert_eq!(asked[0].json()["model"], "gpt-x", "the model whose failure isolated it");
    assert_eq!((&asked[0].json()["max_tokens"], &asked[1].json()["max_completion_tokens"]), (&json!(64), &json!(64)));
    app.finish().await;
}

#[actix_web::test]
async fn a_verification_goes_the_way_of_real_traffic() {
    let upstream = Upstream::anthropic("a").await;
    upstream.requires_key("secret");
    let app = Setup::new()
        .isolated_by_one_failure()
        .endpoint(
            "a",
            &format!("{}/v1", upstream.base_url()),
            "api_key = \"secret\"\nauth = \"both\"\nmodel_map = { \"claude-haiku-*\" = \"haiku-mapped\" }\n\
             headers = { x-extra = \"e\" }\nverify_headers = { x-verify = \"v\" }\nverify_system = \"You are a test.\"\n\
             verify_max_tokens = 128",
        )
        .verified_on_demand()
        .start()
        .await;
    let verdict = app.admin("a", "verify").await.json();
    assert_eq!(verdict["ok"], true, "{verdict}");
    assert!(verdict["tokens"]["input"].as_u64().unwrap() > 0);
    let asked = &upstream.verification_requests()[0];
    assert_eq!(asked.target, "/v1/messages", "the base's version takes the place of the path's own");
    assert_eq!(asked.header("x-api-key"), Some("secret"));
    assert_eq!(asked.header("authorization"), Some("Bearer secret"));
    assert_eq!((asked.header("x-extra"), asked.header("x-verify")), (Some("e"), Some("v")));
    assert_eq!(asked.header("anthropic-version"), Some("2023-06-01"));
    let body = asked.json();
    assert_eq!(
        (&body["model"], &body["system"], &body["max_tokens"]),
        (&json!("haiku-mapped"), &json!("You are a test."), &json!(128))
    );
    assert_eq!(body["thinking"], json!({ "type": "disabled" }));
    app.finish().await;
}

#[actix_web::test]
async fn after_a_model_that_it_lacks_the_next_is_tried() {
    let upstream = Upstream::anthropic("a").await;
    let forbidden = error(403, "permission_error", "no access");
    upstream.script_verifications([error(404, "not_found_error", "model: nonesuch"), ok(), forbidden]);
    let app = Setup::new()
        .endpoint("a", &upstream.base_url(), "verify_model = \"nonesuch\"")
        .verified_on_demand()
        .start()
        .await;
    assert_eq!(app.admin("a", "verify").await.json()["ok"], true);
    let models: Vec<_> = upstream.verification_requests().iter().map(|asked| asked.json()["model"].clone()).collect();
    assert_eq!(models, ["nonesuch", "claude-haiku-4-5"]);
    // A 403 may be about the model too.
    assert_eq!(app.admin("a", "verify").await.json()["ok"], true);
    assert_eq!(upstream.verifications(), 4);
    app.finish().await;
}

#[actix_web::test]
async fn an_endpoint_that_lacks_the_default_model_comes_back_by_one_that_its_settings_name() {
    let upstream = Upstream::anthropic("a").await;
    upstream.script_verifications([error(404, "not_found_error", "model: claude-haiku-4-5"), ok()]);
    let app = Setup::new()
        .endpoint("a", &upstream.base_url(), "models = [\"claude-*\", \"claude-opus-x\"]")
        .verified_on_demand()
        .start()
        .await;
    assert_eq!(app.admin("a", "isolate").await.json()["standing"], "failure");
    assert_eq!(app.admin("a", "verify").await.json()["ok"], true);
    let models: Vec<_> = upstream.verification_requests().iter().map(|asked| asked.json()["model"].clone()).collect();
    assert_eq!(models, ["claude-haiku-4-5", "claude-opus-x"]);
    app.finish().await;
}

#[actix_web::test]
async fn while_it_is_verified_the_breaker_is_half_open_and_no_traffic_comes() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.behave(Behaviour::honest().traffic(status(401)).verifications(hold("verifying").then(ok())));
    let app = Setup::new().primary(&a).secondary(&b).verified_every(20).start().await;
    assert_eq!(app.row("a").await["breaker"], "closed");
    assert_eq!(app.message().await.header("x-qcc-endpoint"), Some("b"));
    a.gates().reached("verifying").await;
    assert_eq!(app.row("a").await["breaker"], "half_open");
    for _ in 0..50 {
        assert_eq!(app.message().await.header("x-qcc-endpoint"), Some("b"));
    }
    assert_eq!((a.traffic(), a.verifications()), (1, 1), "one conversation at a time, and no trial on users' requests");
    a.gates().open("verifying");
    eventually("the recovery", async || app.row("a").await["breaker"] == "closed").await;
    app.finish().await;
}

#[actix_web::test]
async fn a_verification_that_takes_too_long_fails_and_the_next_one_comes() {
    let upstream = Upstream::start("a", Protocol::Anthropic, &crate::support::gates::Gates::default()).await;
    upstream.behave(Behaviour::honest().traffic(status(401)));
    upstream.script_verifications([crate::support::upstream::step::never_answer()]);
    let app = Setup::new()
        .primary(&upstream)
        .section("verifier", "timeout = \"400ms\"\ninitial_delay = \"20ms\"\njitter = 0.0\ninterval_account = \"20ms\"")
        .start()
        .await;
    app.message().await;
    eventually("the recovery", async || app.row("a").await["standing"] == "primary").await;
    assert_eq!(app.row("a").await["verify_count"], 2);
    app.finish().await;
}

#[actix_web::test]
async fn an_isolation_within_the_slow_start_goes_on_with_the_delay_that_was_reached() {
    let upstream = Upstream::anthropic("a").await;
    upstream.behave(Behaviour::honest().traffic(status(401)));
    upstream.script_verifications([status(500), status(500)]);
    let app = Setup::new()
        .primary(&upstream)
        .section("verifier", "initial_delay = \"20ms\"\nmultiplier = 4.0\njitter = 0.0\nslow_start = \"1m\"")
        .start()
        .await;
    app.message().await;
    eventually("the recovery", async || app.row("a").await["standing"] == "primary").await;
    assert_eq!(upstream.verifications(), 3);
    let began = now();
    app.message().await;
    eventually("the second recovery", async || upstream.verifications() == 4).await;
    assert!(began.elapsed() >= Duration::from_millis(320), "as soon as the first time: after {:?}", began.elapsed());
    app.finish().await;
}

#[actix_web::test]
async fn an_endpoint_that_cuts_streams_comes_back_only_by_a_stream_that_it_does_not_cut() {
    let upstream = Upstream::anthropic("a").await;
    let cut = || sse(3).then_close();
    upstream.behave(Behaviour::always(cut()));
    let app = Setup::new().primary(&upstream).isolated_by_one_failure().verified_every(20).start().await;
    app.client().await.post("/v1/messages", &[TRAFFIC], body(true)).await;
    eventually("several verifications", async || upstream.verifications() >= 3).await;
    let row = app.row("a").await;
    assert_eq!((&row["standing"], &row["isolated_reason"]), (&json!("failure"), &json!("stream")));
    assert_eq!(row["last_verification"]["error"], "the upstream's answer was cut short");
    assert!(upstream.verification_requests().iter().all(|asked| asked.json()["stream"] == true));
    assert_eq!(upstream.traffic(), 1);

    upstream.mend();
    eventually("the recovery", async || app.row("a").await["standing"] == "primary").await;
    let row = app.row("a").await;
    let spent = row["verification_tokens"]["output"].as_u64().unwrap();
    assert!(spent > upstream.verifications() as u64, "what was cut has cost something too: {row}");
    app.finish().await;
}

/// Found behind a relay that tells of a broken stream by an event: the reason was the event's, a whole answer brought the
/// endpoint back, and its streams failed anew.
#[actix_web::test]
async fn an_endpoint_whose_streams_end_in_an_error_comes_back_only_by_a_stream() {
    for (kind, reason) in [("api_error", "upstream_status"), ("authentication_error", "credential")] {
        let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
        let fails = || sse(0).then_error(kind);
        a.behave(Behaviour::always(fails()));
        let app = Setup::new().primary(&a).secondary(&b).isolated_by_one_failure().verified_every(20).start().await;
        let answer = app.client().await.post("/v1/messages", &[TRAFFIC], body(true)).await;
        assert_eq!(answer.header("x-qcc-endpoint"), Some("b"));
        eventually("several verifications", async || a.verifications() >= 3).await;
        let row = app.row("a").await;
        assert_eq!((&row["standing"], &row["isolated_reason"]), (&json!("failure"), &json!(reason)));
        assert!(a.verification_requests().iter().all(|asked| asked.json()["stream"] == true));
        a.mend();
        eventually("the recovery", async || app.row("a").await["standing"] == "primary").await;
        app.finish().await;
    }
}

#[actix_web::test]
async fn an_endpoint_whose_streams_never_get_to_their_first_event_is_verified_by_a_stream() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.script_traffic([raw(STREAM_HEAD).then(never_answer())]);
    let app = Setup::new()
        .section("timeouts", "first_event = \"400ms\"")
        .primary(&a)
        .secondary(&b)
        .isolated_by_one_failure()
        .verified_every(20)
        .start()
        .await;
    let answer = app.client().await.post("/v1/messages", &[TRAFFIC], body(true)).await;
    assert_eq!(answer.header("x-qcc-endpoint"), Some("b"));
    eventually("the recovery", async || app.events().await.iter().any(|event| event["kind"] == "recovered")).await;
    let isolated = app.events().await.into_iter().find(|event| event["kind"] == "isolated").unwrap();
    assert_eq!(isolated["reason"], "timeout");
    assert_eq!(a.verification_requests()[0].json()["stream"], true);
    app.finish().await;
}

/// Found with LiteLLM: where a stream fails behind it before its first piece, its answer is a plain 500; a whole answer it can give.
#[actix_web::test]
async fn an_endpoint_that_relapses_over_streams_that_it_refuses_comes_back_only_once_it_gives_an_answer_to_one() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.behave(Behaviour::always(status(500)));
    a.script_verifications([ok()]);
    let app = Setup::new().primary(&a).secondary(&b).isolated_by_one_failure().verified_every(20).start().await;
    let ask = async || {
        let answer = app.client().await.post("/v1/messages", &[TRAFFIC], body(true)).await;
        assert_eq!(answer.header("x-qcc-endpoint"), Some("b"));
    };
    ask().await;
    eventually("the recovery", async || app.row("a").await["standing"] == "primary").await;
    ask().await;
    eventually("several verifications", async || a.verifications() >= 4).await;
    assert_eq!(app.row("a").await["standing"], "failure");
    let streams: Vec<_> = a.verification_requests().iter().map(|asked| asked.json()["stream"] == true).collect();
    assert!(!streams[0] && streams[1..].iter().all(|stream| *stream), "{streams:?}");
    a.mend();
    eventually("the second recovery", async || app.row("a").await["standing"] == "primary").await;
    app.finish().await;
}

/// In traffic what is missing is supplied, and the stream counts as whole; so it must in a verification.
#[actix_web::test]
async fn an_endpoint_that_never_sends_the_closing_event_comes_back_all_the_same() {
    for (upstream, protocol, path) in [
        (Upstream::anthropic("a").await, "anthropic", "/v1/messages"),
        (Upstream::openai("a").await, "openai", "/v1/chat/completions"),
    ] {
        upstream.behave(Behaviour::always(sse(3).finished().then_cut()));
        upstream.script_traffic([sse(3).then_close()]);
        let app = Setup::new()
            .isolated_by_one_failure()
            .endpoint("a", &upstream.base_url(), &format!("protocol = \"{protocol}\""))
            .verified_every(20)
            .start()
            .await;
        app.client().await.post(path, &[TRAFFIC], body(true)).await;
        eventually("the recovery", async || app.events().await.iter().any(|event| event["kind"] == "recovered")).await;
        let isolated = app.events().await.into_iter().find(|event| event["kind"] == "isolated").unwrap();
        assert_eq!(isolated["reason"], "stream");
        let answer = app.client().await.post(path, &[TRAFFIC], body(true)).await;
        assert_eq!((answer.status, &app.row("a").await["successes"]), (200, &json!(1)));
        app.finish().await;
    }
}
