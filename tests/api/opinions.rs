//! Second opinions: one poisoned conversation can't empty the pool, and a real outage is still seen.

use serde_json::{Value, json};

use crate::support::app::{Setup, TRAFFIC, TestApp, body, message};
use crate::support::eventually::eventually;
use crate::support::streaming::STREAM_HEAD;
use crate::support::upstream::step::{Behaviour, error, html, never_answer, ok, raw, sse, status, status_with};
use crate::support::upstream::{Upstream, is_verification};

/// The message that every sound upstream answers 500 to: the gateway's upstreams here know it by its text.
fn poison() -> String {
    body(false).replace("Say hello.", "POISON")
}

async fn send_poison(app: &TestApp) -> u16 {
    app.client().await.post("/v1/messages", &[TRAFFIC], poison()).await.status
}

/// So many sound upstreams, which choke on poison.
async fn sound(names: &[&'static str]) -> Vec<Upstream> {
    let mut upstreams = Vec::new();
    for name in names {
        let upstream = Upstream::anthropic(name).await;
        upstream.answers_to("POISON", status(500));
        upstreams.push(upstream);
    }
    upstreams
}

fn pool(upstreams: &[Upstream]) -> Setup {
    upstreams.iter().fold(Setup::new().section("retry", "backoff = \"1ms\""), Setup::primary)
}

async fn isolated(app: &TestApp) -> Value {
    app.stats().await["queues"]["failure"].clone()
}

#[actix_web::test]
async fn a_poisoned_conversation_alone_leaves_nobody_isolated() {
    for names in [&["a"][..], &["a", "b", "c"]] {
        let upstreams = sound(names).await;
        let app = pool(&upstreams).verified_on_demand().start().await;
        for number in 0..50 {
            assert_eq!(send_poison(&app).await, 500, "{names:?}");
            assert_eq!(isolated(&app).await, json!([]), "after {number} of {names:?}");
        }
        for row in app.stats().await["endpoints"].as_array().unwrap() {
            assert_eq!(row["consecutive_failures"], 0, "{row}");
        }
        app.finish().await;
    }
}

/// Once wrong: both endpoints were asked for their opinion on the model that works nowhere, and were out for as long as that
/// failed.
#[actix_web::test]
async fn a_model_that_works_nowhere_takes_no_endpoint_from_the_others() {
    for failing in [status(500), html(), status_with(400, &[("content-type", "text/plain")], "unknown model")] {
        let upstreams = [Upstream::anthropic("a").await, Upstream::anthropic("b").await];
        for upstream in &upstreams {
            // Verifications with that model too.
            upstream.recognise_verifications(|request| {
                is_verification(request) && request.json()["model"] != "works-nowhere"
            });
            upstream.answers_to("works-nowhere", failing.clone());
        }
        let app = pool(&upstreams).section("verifier", "initial_delay = \"20ms\"").start().await;
        let nowhere = body(false).replace("claude-haiku-4-5", "works-nowhere");
        assert!(nowhere.contains("works-nowhere"));
        for _ in 0..10 {
            let answer = app.client().await.post("/v1/messages", &[TRAFFIC], &nowhere).await;
            assert!(answer.status >= 400);
            assert_eq!(app.message().await.status, 200);
        }
        eventually("both are back where they belong", async || isolated(&app).await == json!([])).await;
        app.finish().await;
    }
}

#[actix_web::test]
async fn a_poisoned_conversation_among_good_traffic_leaves_nobody_isolated() {
    for names in [&["a"][..], &["a", "b", "c"]] {
        let upstreams = sound(names).await;
        let app = pool(&upstreams).verified_on_demand().start().await;
        let mut client = app.client().await;
        for number in 0..50 {
            assert_eq!(send_poison(&app).await, 500);
            assert_eq!(message(&mut client, number).await.status, 200);
        }
        assert_eq!(isolated(&app).await, json!([]), "{names:?}");
        app.finish().await;
    }
}

#[actix_web::test]
async fn nine_poisoned_requests_at_once_leave_all_in_traffic_at_full_share() {
    let upstreams = sound(&["a", "b", "c"]).await;
    let app = pool(&upstreams).verified_on_demand().start().await;
    let answers = futures_util::future::join_all((0..9).map(|_| send_poison(&app))).await;
    assert!(answers.iter().all(|status| *status >= 500), "{answers:?}");
    eventually("all are back", async || isolated(&app).await == json!([])).await;
    for row in app.stats().await["endpoints"].as_array().unwrap() {
        assert_eq!((&row["effective_weight"], &row["status"]), (&json!(100.0), &json!("healthy")), "{row}");
    }
    app.finish().await;
}

/// Found with a client whose time was up at its third endpoint: the failures of the first two were left to count.
#[actix_web::test]
async fn a_poisoned_conversation_whose_client_is_out_of_time_leaves_nobody_isolated() {
    let upstreams = sound(&["a", "b"]).await;
    let slow = Upstream::anthropic("slow").await;
    slow.answers_to("POISON", never_answer());
    let app = pool(&upstreams).secondary(&slow).verified_on_demand().start().await;
    for _ in 0..4 {
        let headers = [TRAFFIC, ("x-stainless-timeout", "1")];
        let answer = app.client().await.post("/v1/messages", &headers, poison()).await;
        assert!(answer.status >= 500, "{}", answer.status);
        assert_eq!(isolated(&app).await, json!([]));
    }
    for id in ["a", "b"] {
        assert_eq!(app.row(id).await["consecutive_failures"], 0, "{id}");
    }
    app.finish().await;
}

/// Once wrong: a client that left a stream that was passed on without content took the doubt with it.
#[actix_web::test]
async fn a_poisoned_conversation_whose_client_leaves_leaves_nobody_isolated() {
    for (wanted, step) in [(false, never_answer()), (true, sse(0).then_stall())] {
        let upstreams = sound(&["a", "b"]).await;
        let slow = Upstream::anthropic("slow").await;
        slow.answers_to("POISON", step);
        let timeouts = "first_content = \"50ms\"";
        let app = pool(&upstreams).section("timeouts", timeouts).secondary(&slow).verified_on_demand().start().await;
        for number in 1..5 {
            let mut client = app.client().await;
            // Each is another conversation: one that is known as the cause gets a single attempt.
            let poison = body(wanted).replace("Say hello.", &format!("POISON {number}"));
            client.send_request("POST", "/v1/messages", &[TRAFFIC], poison.as_bytes()).await;
            slow.received(number).await;
            if wanted {
                assert_eq!(client.answer_head().await.status, 200);
            }
            client.hang_up();
            eventually("the end", async || app.row("slow").await["in_flight"] == 0).await;
            eventually("all are in traffic", async || isolated(&app).await == json!([])).await;
            for id in ["a", "b"] {
                assert_eq!(app.row(id).await["consecutive_failures"], 0, "{id} after {number}");
            }
        }
        app.finish().await;
    }
}

/// What had begun would have been a success, and after that the others' failures are their own.
#[actix_web::test]
async fn a_client_that_leaves_an_answer_with_content_takes_no_failure_back() {
    let upstreams = sound(&["a", "b"]).await;
    let serves = Upstream::anthropic("serves").await;
    serves.answers_to("POISON", sse(1).then_stall());
    let app = pool(&upstreams).secondary(&serves).verified_on_demand().start().await;
    let mut client = app.client().await;
    let poison = body(true).replace("Say hello.", "POISON");
    client.send_request("POST", "/v1/messages", &[TRAFFIC], poison.as_bytes()).await;
    assert_eq!(client.answer_head().await.status, 200);
    client.piece().await.unwrap();
    client.hang_up();
    eventually("the end", async || app.row("serves").await["in_flight"] == 0).await;
    for id in ["a", "b"] {
        assert_eq!(app.row(id).await["consecutive_failures"], 1, "{id}");
    }
    assert!(upstreams.iter().all(|upstream| upstream.verifications() == 0));
    app.finish().await;
}

#[actix_web::test]
async fn a_request_found_to_be_the_cause_gets_a_single_attempt() {
    let upstreams = sound(&["a", "b", "c"]).await;
    let app = pool(&upstreams).verified_on_demand().start().await;
    send_poison(&app).await;
    eventually("the opinions", async || upstreams.iter().all(|upstream| upstream.verifications() == 1)).await;
    eventually("their verdicts", async || {
        app.events().await.iter().filter(|event| event["kind"] == "second_opinion").count() == 3
    })
    .await;
    let answer = app.client().await.post("/v1/messages", &[TRAFFIC], poison()).await;
    assert_eq!((answer.status, answer.header("x-qcc-attempts")), (500, Some("1")));
    app.finish().await;
}

#[actix_web::test]
async fn a_real_outage_of_all_is_still_seen() {
    for names in [&["a"][..], &["a", "b"]] {
        let upstreams = sound(names).await;
        for upstream in &upstreams {
            upstream.behave(Behaviour::always(html()));
        }
        let app = pool(&upstreams).verified_on_demand().start().await;
        app.message().await;
        eventually("all are isolated", async || isolated(&app).await.as_array().map(Vec::len) == Some(names.len()))
            .await;
        assert_eq!(app.row("a").await["isolated_reason"], "body");
        app.finish().await;
    }
}

#[actix_web::test]
async fn a_relay_that_refuses_one_clients_script_stays_for_the_others() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.answers_to("POISON", error(403, "permission_error", "this client is not welcome"));
    let app = Setup::new().primary(&a).secondary(&b).verified_on_demand().start().await;
    for _ in 0..20 {
        let answer = app.client().await.post("/v1/messages", &[TRAFFIC], poison()).await;
        assert_eq!(answer.header("x-qcc-endpoint"), Some("b"));
    }
    eventually("the opinion", async || a.verifications() == 1).await;
    assert_eq!(app.message().await.header("x-qcc-endpoint"), Some("a"));
    assert_eq!(a.verifications(), 1, "it is not asked again so soon");
    app.finish().await;
}

#[actix_web::test]
async fn a_model_that_the_key_may_not_use_takes_the_endpoint_from_nobody_else() {
    let a = Upstream::anthropic("a").await;
    a.answers_to("claude-secret", error(403, "permission_error", "Your API key may not use this."));
    let app = Setup::new().primary(&a).verified_on_demand().start().await;
    let secret = body(false).replace("claude-haiku-4-5", "claude-secret");
    assert_eq!(app.client().await.post("/v1/messages", &[TRAFFIC], secret).await.status, 403);
    eventually("the opinion", async || app.row("a").await["last_verification"]["ok"] == true).await;
    assert_eq!((app.row("a").await["standing"].as_str(), app.message().await.status), (Some("primary"), 200));
    app.finish().await;
}

#[actix_web::test]
async fn a_key_that_is_forbidden_everything_is_isolated() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.behave(Behaviour::always(status(403)));
    let app = Setup::new().primary(&a).secondary(&b).verified_on_demand().start().await;
    assert_eq!(app.message().await.header("x-qcc-endpoint"), Some("b"));
    eventually("the isolation", async || app.row("a").await["standing"] == "failure").await;
    assert_eq!((a.verifications(), &app.row("a").await["isolated_reason"]), (2, &json!("credential")));
    app.finish().await;
}

#[actix_web::test]
async fn a_failure_that_another_endpoint_did_not_have_counts() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.behave(Behaviour::honest().traffic(status(500)).verifications(ok()));
    let app = Setup::new().primary(&a).secondary(&b).verified_on_demand().start().await;
    for _ in 0..3 {
        assert_eq!(app.message().await.status, 200);
    }
    assert_eq!(app.row("a").await["standing"], "failure");
    assert_eq!(a.verifications(), 0, "nobody doubts it");
    app.finish().await;
}

#[actix_web::test]
async fn a_stream_cut_where_there_is_no_other_endpoint_is_looked_into_by_a_stream() {
    let a = Upstream::anthropic("a").await;
    a.script_traffic((0..5).map(|_| sse(2).then_reset()));
    let app = Setup::new().primary(&a).verified_on_demand().start().await;
    for _ in 0..5 {
        let answer = app.client().await.post("/v1/messages", &[TRAFFIC], body(true)).await;
        assert_eq!(answer.events().last().unwrap().name.as_deref(), Some("error"));
    }
    eventually("the opinion", async || a.verifications() == 1).await;
    assert_eq!(a.verification_requests()[0].json()["stream"], true);
    let row = app.row("a").await;
    assert_eq!((&row["standing"], &row["consecutive_failures"]), (&json!("primary"), &json!(0)));
    app.finish().await;
}

/// Found with a single relay that tells of broken streams by an event: the opinion was asked as a whole answer, which it could
/// give, and each conversation was taken for the cause in its turn.
#[actix_web::test]
async fn a_stream_that_ends_in_an_error_where_there_is_no_other_endpoint_is_looked_into_by_a_stream() {
    let a = Upstream::anthropic("a").await;
    a.behave(Behaviour::always(sse(0).then_error("api_error")));
    let app = Setup::new().primary(&a).verified_on_demand().start().await;
    app.client().await.post("/v1/messages", &[TRAFFIC], body(true)).await;
    eventually("the isolation", async || app.row("a").await["standing"] == "failure").await;
    assert_eq!(app.row("a").await["isolated_reason"], "upstream_status");
    assert!(a.verification_requests().iter().all(|asked| asked.json()["stream"] == true));
    app.finish().await;
}

#[actix_web::test]
async fn an_endpoint_whose_stream_is_silent_until_its_client_leaves_is_looked_into_by_a_stream() {
    let a = Upstream::anthropic("a").await;
    a.behave(Behaviour::always(raw(STREAM_HEAD).then(never_answer())));
    let app = Setup::new()
        .section("timeouts", "suspect = \"150ms\"")
        .section("verifier", "initial_delay = \"1h\"\ninterval = \"1h\"\ntimeout = \"200ms\"")
        .primary(&a)
        .start()
        .await;
    let mut client = app.client().await;
    client.send_request("POST", "/v1/messages", &[TRAFFIC], body(true).as_bytes()).await;
    a.received(1).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    client.hang_up();
    eventually("the isolation", async || app.row("a").await["standing"] == "failure").await;
    assert_eq!(app.row("a").await["isolated_reason"], "timeout");
    assert!(a.verification_requests().iter().all(|asked| asked.json()["stream"] == true));
    app.finish().await;
}

/// Once wrong: the first conversation was broken off a moment after it had begun, for the doubt of the very request that waits.
#[actix_web::test]
async fn an_endpoint_that_a_request_waits_for_is_talked_to_once() {
    let a = Upstream::anthropic("a").await;
    a.script_traffic([status(500)]);
    let app = Setup::new().primary(&a).section("breaker", "failure_threshold = 1").verified_on_demand().start().await;
    assert_eq!(app.message().await.status, 200);
    assert_eq!(a.verifications(), 1);
    assert_eq!(a.connections(), 2, "one for traffic, and one to verify");
    app.finish().await;
}

#[actix_web::test]
async fn an_endpoint_that_hangs_until_its_clients_leave_is_found() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.behave(Behaviour::always(never_answer()));
    let app = Setup::new()
        .section("timeouts", "suspect = \"150ms\"")
        .section("verifier", "initial_delay = \"1h\"\ninterval = \"1h\"\ntimeout = \"200ms\"")
        .primary(&a)
        .secondary(&b)
        .start()
        .await;
    for (waits, found) in [(10, false), (300, true)] {
        let mut client = app.client().await;
        client.send_request("POST", "/v1/messages", &[TRAFFIC], body(false).as_bytes()).await;
        eventually("it is under way", async || app.row("a").await["in_flight"] == 1).await;
        tokio::time::sleep(std::time::Duration::from_millis(waits)).await;
        client.hang_up();
        if found {
            eventually("the isolation", async || app.row("a").await["standing"] == "failure").await;
        } else {
            eventually("the end", async || app.row("a").await["in_flight"] == 0).await;
            assert_eq!(a.verifications(), 0, "a client may be impatient");
        }
    }
    assert_eq!((a.verifications(), &app.row("a").await["isolated_reason"]), (2, &json!("timeout")));
    app.finish().await;
}

/// Once wrong: only a request without any answer was doubted.
#[actix_web::test]
async fn failures_alike_are_doubted_too_where_another_endpoint_refuses_the_request() {
    let upstreams = sound(&["a", "b"]).await;
    let c = Upstream::anthropic("c").await;
    c.answers_to("POISON", error(400, "invalid_request_error", "no such thing"));
    let app = pool(&upstreams).secondary(&c).verified_on_demand().start().await;
    assert_eq!(send_poison(&app).await, 400);
    for _ in 0..6 {
        let status = send_poison(&app).await;
        assert!(matches!(status, 400 | 500), "known as the cause it gets a single attempt: {status}");
    }
    assert_eq!(isolated(&app).await, json!([]));
    assert_eq!(app.row("a").await["consecutive_failures"], 0);
    app.finish().await;
}

/// Once wrong: a client that left took its doubt with it.
#[actix_web::test]
async fn a_request_whose_client_leaves_after_its_failures_is_doubted() {
    let upstreams = sound(&["a"]).await;
    let app = pool_with_pauses(&upstreams).start().await;
    let mut client = app.client().await;
    client.send_request("POST", "/v1/messages", &[TRAFFIC], poison().as_bytes()).await;
    eventually("its failure", async || app.row("a").await["consecutive_failures"] == 1).await;
    client.hang_up();
    eventually("the opinion", async || upstreams[0].verifications() == 1).await;
    eventually("its record is clean", async || app.row("a").await["consecutive_failures"] == 0).await;
    app.finish().await;
}

/// So long a pause before the same endpoint is tried again that no test comes to its end.
fn pool_with_pauses(upstreams: &[Upstream]) -> Setup {
    let retry = "backoff = \"1h\"\nbackoff_max = \"1h\"\ndeadline = \"2h\"";
    let setup = Setup::new().section("retry", retry).verified_on_demand();
    upstreams.iter().fold(setup, Setup::primary)
}

/// Once wrong: a client that does not wait for a count can not have an endpoint isolated.
#[actix_web::test]
async fn an_endpoint_that_is_slow_to_count_is_not_suspected() {
    let a = Upstream::anthropic("a").await;
    a.behave(Behaviour::always(never_answer()));
    let app = Setup::new()
        .section("timeouts", "suspect = \"50ms\"")
        .section("verifier", "initial_delay = \"1h\"\ninterval = \"1h\"\ntimeout = \"200ms\"")
        .primary(&a)
        .start()
        .await;
    let mut client = app.client().await;
    client.send_request("POST", "/v1/messages/count_tokens", &[TRAFFIC], body(false).as_bytes()).await;
    eventually("it is under way", async || app.row("a").await["in_flight"] == 1).await;
    tokio::time::sleep(std::time::Duration::from_millis(150)).await;
    client.hang_up();
    eventually("its end", async || app.row("a").await["in_flight"] == 0).await;
    // Were there another conversation, it would be joined.
    assert_eq!(app.admin("a", "verify").await.json()["ok"], false);
    assert!(!app.events().await.iter().any(|event| event["kind"] == "second_opinion"));
    app.finish().await;
}

/// Found from outside: one request that failed twice had the endpoint asked without a credential, and isolated for good by its 401.
#[actix_web::test]
async fn an_endpoint_that_wants_the_clients_own_credential_is_not_isolated_for_want_of_it() {
    for refused in [401, 403] {
        let upstream = sound(&["a"]).await.remove(0);
        upstream.behave(Behaviour::honest().verifications(status(refused)));
        let setup = Setup::new().section("retry", "backoff = \"1ms\"");
        let app =
            setup.endpoint("a", &upstream.base_url(), "auth = \"passthrough\"").verified_on_demand().start().await;
        assert_eq!(send_poison(&app).await, 500);
        eventually("both conversations are over", async || {
            app.events().await.iter().filter(|event| event["kind"] == "second_opinion").count() == 2
        })
        .await;
        assert_eq!(app.message().await.status, 200);
        assert_eq!(isolated(&app).await, json!([]));
        app.finish().await;
    }
}

/// Found with a relay that has no list of models: whoever asked for it three times had the endpoint isolated.
#[actix_web::test]
async fn failures_alike_on_other_paths_leave_nobody_isolated() {
    for names in [&["a"][..], &["a", "b"]] {
        let mut upstreams = Vec::new();
        for name in names {
            let upstream = Upstream::anthropic(name).await;
            upstream.behave(Behaviour::honest().traffic(status(501)));
            upstreams.push(upstream);
        }
        let app = pool(&upstreams).verified_on_demand().start().await;
        for number in 0..10 {
            assert_eq!(app.client().await.get("/v1/models", &[TRAFFIC]).await.status, 501);
            assert_eq!(isolated(&app).await, json!([]), "after {number} of {names:?}");
        }
        app.finish().await;
    }
}
