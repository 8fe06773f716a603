//! How often, where and when a request is sent again.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::app::{Setup, TRAFFIC, TestApp, body, message};
use crate::support::eventually::eventually;
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{Behaviour, error, never_answer, ok, reset, status, status_and};

#[actix_web::test]
async fn an_endpoint_that_failed_is_tried_again_when_there_is_no_other() {
    let a = Upstream::anthropic("a").await;
    a.script_traffic([status(500)]);
    let app = Setup::new().primary(&a).verified_on_demand().start().await;
    let answer = app.message().await;
    assert_eq!((answer.status, answer.header("x-qcc-attempts")), (200, Some("2")));
    let trail = answer.header("x-qcc-trail").unwrap();
    assert!(trail.starts_with("a=500@") && trail.contains(",a=ok@"), "{trail}");
    app.finish().await;
}

#[actix_web::test]
async fn it_is_tried_no_more_often_than_allowed() {
    let a = Upstream::anthropic("a").await;
    a.behave(Behaviour::honest().traffic(status(500)));
    for most in [1, 2] {
        let before = a.traffic();
        let app = Setup::new()
            .primary(&a)
            .section("retry", &format!("max_per_endpoint = {most}\nbackoff = \"1ms\""))
            .verified_on_demand()
            .start()
            .await;
        assert_eq!(app.message().await.status, 500);
        assert_eq!(a.traffic() - before, most);
        app.finish().await;
    }
}

#[actix_web::test]
async fn every_other_endpoint_comes_before_a_second_try() {
    let mut upstreams = Vec::new();
    let mut setup = Setup::new().section("retry", "backoff = \"1ms\"").verified_on_demand();
    for name in ["a", "b", "c"] {
        let upstream = Upstream::anthropic(name).await;
        upstream.script_traffic([status(500)]);
        setup = setup.primary(&upstream);
        upstreams.push(upstream);
    }
    let app = setup.start().await;
    let answer = app.message().await;
    assert_eq!((answer.status, answer.header("x-qcc-attempts")), (200, Some("4")));
    assert_eq!(upstreams.iter().filter(|upstream| upstream.traffic() == 1).count(), 2);
    app.finish().await;
}

#[actix_web::test]
async fn a_client_error_in_hand_is_the_answer_once_everybody_was_asked() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.script_traffic([error(403, "permission_error", "not you")]);
    b.script_traffic([status(500)]);
    let app = Setup::new().primary(&a).secondary(&b).verified_on_demand().start().await;
    let answer = app.message().await;
    assert_eq!((answer.status, answer.header("x-qcc-attempts")), (403, Some("2")));
    app.finish().await;
}

#[actix_web::test]
async fn a_request_is_sent_again_to_the_byte() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.script_traffic([status(500)]);
    let app = Setup::new().primary(&a).secondary(&b).verified_on_demand().start().await;
    let odd = " {\"model\":\"m\",\t\"x\":1.50e+01,\"messages\":[],\"x\":\"\\u00e9é\"}\n";
    app.client().await.post("/v1/messages?beta=true", &[TRAFFIC], odd).await;
    for upstream in [&a, &b] {
        let request = upstream.traffic_requests().pop().unwrap();
        assert_eq!((request.target.as_str(), &request.body[..]), ("/v1/messages?beta=true", odd.as_bytes()));
    }
    app.finish().await;
}

#[actix_web::test]
async fn no_attempt_starts_after_the_deadline() {
    let a = Upstream::anthropic("a").await;
    a.behave(Behaviour::always(status_and(429, &[("retry-after-ms", "300")])));
    let app = Setup::new().primary(&a).section("retry", "deadline = \"200ms\"").verified_on_demand().start().await;
    let answer = app.message().await;
    assert_eq!((answer.status, a.traffic()), (429, 1), "the cooldown ends too late");
    app.finish().await;
}

/// Once wrong: the pause was made, and the attempt behind it.
#[actix_web::test]
async fn no_pause_is_made_that_would_end_after_the_deadline() {
    let a = Upstream::anthropic("a").await;
    a.behave(Behaviour::always(status(500)));
    let retry = "backoff = \"100d\"\nbackoff_max = \"100d\"\ndeadline = \"2s\"";
    let app = Setup::new().primary(&a).section("retry", retry).verified_on_demand().start().await;
    let answer = app.message().await;
    assert_eq!((answer.status, a.traffic()), (500, 1));
    app.finish().await;
}

/// How many requests the upstreams get for each of the clients' while every one of them is down.
async fn load_of_an_outage(app: &TestApp, upstreams: &[Upstream], requests: usize) -> f64 {
    let before: usize = upstreams.iter().map(Upstream::traffic).sum();
    let mut client = app.client().await;
    for number in 0..requests {
        assert!(message(&mut client, number).await.status >= 500);
    }
    let sent = upstreams.iter().map(Upstream::traffic).sum::<usize>() - before;
    f64::from(u32::try_from(sent).unwrap()) / f64::from(u32::try_from(requests).unwrap())
}

#[actix_web::test]
async fn a_dead_pool_is_not_hammered() {
    let mut upstreams = Vec::new();
    let mut setup = Setup::new()
        .section("retry", "backoff = \"1ms\"\nbudget_ratio = 0.2\nbudget_min = 0\npark = \"0s\"")
        .section("breaker", "failure_threshold = 1000\nmin_requests = 1000")
        .verified_on_demand();
    for name in ["a", "b", "c"] {
        let upstream = Upstream::anthropic(name).await;
        upstream.behave(Behaviour::honest().traffic(reset()));
        setup = setup.primary(&upstream);
        upstreams.push(upstream);
    }
    let app = setup.start().await;
    let before = load_of_an_outage(&app, &upstreams, 100).await;
    assert!((1.9..=2.3).contains(&before), "one attempt, one free turn, and a fifth more: {before}");
    for upstream in &upstreams {
        app.admin(upstream.name(), "isolate").await;
        upstream.behave(Behaviour::always(reset()));
    }
    app.message().await;
    eventually("the hastened verifications", async || upstreams.iter().all(|one| one.verifications() > 0)).await;
    let after = load_of_an_outage(&app, &upstreams, 100).await;
    assert!(after < f64::EPSILON, "isolated they get none: {after}");
    app.finish().await;
}

#[actix_web::test]
async fn many_failing_requests_do_not_come_back_in_step() {
    let a = Upstream::anthropic("a").await;
    a.script_traffic((0..20).map(|_| status(500)).chain((0..20).map(|_| ok())));
    let app = Setup::new()
        .primary(&a)
        .section("breaker", "failure_threshold = 1000\nmin_requests = 1000")
        .section("retry", "backoff = \"200ms\"")
        .verified_on_demand()
        .start()
        .await;
    let clients = (0..20).map(async |number| message(&mut app.client().await, number).await.status);
    let answers = futures_util::future::join_all(clients).await;
    assert_eq!(answers, [200; 20]);
    let arrivals: Vec<Instant> = a.traffic_requests().iter().skip(20).map(|request| request.came).collect();
    let first = arrivals.iter().min().unwrap();
    let last = arrivals.iter().max().unwrap();
    assert!(*last - *first > Duration::from_millis(50), "{arrivals:?}");
    assert_eq!(app.stats().await["retries"], json!(20));
    app.finish().await;
}

/// Once wrong: the client was told that every attempt had timed out.
#[actix_web::test]
async fn a_client_whose_time_is_up_gets_the_best_answer_in_hand() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.behave(Behaviour::honest().traffic(status(500)));
    b.behave(Behaviour::honest().traffic(never_answer()));
    let app = Setup::new().primary(&a).secondary(&b).verified_on_demand().start().await;
    let send =
        async || app.client().await.post("/v1/messages", &[TRAFFIC, ("x-stainless-timeout", "0.4")], body(false)).await;
    let answer = send().await;
    assert_eq!((answer.status, answer.header("x-qcc-attempts")), (500, Some("2")), "{}", answer.text());
    a.behave(Behaviour::honest().traffic(reset()));
    assert_eq!(send().await.status, 502, "not every attempt timed out");
    a.behave(Behaviour::honest().traffic(never_answer()));
    assert_eq!(send().await.status, 504);
    app.finish().await;
}

/// A request was sent on to the next endpoint when the client's time was up, and broken off in the same moment: for the provider's
/// bill it had been made.
#[actix_web::test]
async fn nothing_is_asked_for_when_the_clients_time_is_up() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    let app = Setup::new()
        .primary(&a)
        .secondary(&b)
        .section("timeouts", "response = \"300ms\"")
        .section("breaker", "failure_threshold = 100")
        .verified_on_demand()
        .start()
        .await;
    // So that there is a connection to b, on which a request can be written at once.
    a.script_traffic([status(500), never_answer()]);
    assert_eq!(app.message().await.status, 200);
    assert_eq!(b.traffic(), 1);
    // It gives up 10 ms before the gateway would: that is the endpoint's fault, and then the client's time is up.
    let headers = [TRAFFIC, ("x-stainless-timeout", "0.58")];
    let answer = app.client().await.post("/v1/messages", &headers, body(false)).await;
    assert_eq!(answer.status, 504, "{}", answer.text());
    assert_eq!((a.traffic(), b.traffic()), (2, 1), "{:?}", answer.header("x-qcc-trail"));
    app.finish().await;
}

/// A method that nobody knows to be idempotent may do its work twice (RFC 9110, section 9.2.2).
#[actix_web::test]
async fn on_other_paths_only_what_is_idempotent_is_sent_again() {
    for (method, attempts) in [("POST", 1), ("PATCH", 1), ("LOCK", 1), ("GET", 2), ("PUT", 2), ("DELETE", 2)] {
        let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
        for upstream in [&a, &b] {
            upstream.behave(Behaviour::honest().traffic(status(500)));
        }
        let app = Setup::new()
            .primary(&a)
            .secondary(&b)
            .section("retry", "max_per_endpoint = 1\npark = \"0s\"")
            .verified_on_demand()
            .start()
            .await;
        let mut client = app.client().await;
        client.send_request(method, "/v1/models/x", &[TRAFFIC], b"{}").await;
        assert_eq!(client.answer().await.status, 500, "{method}");
        assert_eq!(a.traffic() + b.traffic(), attempts, "{method}");
        app.finish().await;
    }
}
