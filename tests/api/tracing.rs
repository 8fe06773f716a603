//! Traces: the spans that a collector gets, what endpoints are told of them, and that nobody waits for either.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;

use crate::support::app::{LOCAL, Setup, TRAFFIC, TestApp, body};
use crate::support::eventually::eventually;
use crate::support::process::{Process, settings};
use crate::support::raw_client::{Answer, RawClient};
use crate::support::upstream::Upstream;
use crate::support::upstream::record::Recorded;
use crate::support::upstream::step::{Behaviour, Step, hold, never_answer, ok, raw, sse, status, status_with};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn accepted() -> Step {
    status_with(200, &[("content-type", "application/json")], "{}")
}

async fn collector() -> Upstream {
    let collector = Upstream::anthropic("collector").await;
    collector.behave(Behaviour::always(accepted()));
    collector
}

async fn traced(collector: &Upstream, endpoints: &[&Upstream]) -> TestApp {
    let setup = Setup::new().verified_on_demand().section("otel", &format!("endpoint = \"{}\"", collector.base_url()));
    let (first, others) = endpoints.split_first().unwrap();
    others.iter().fold(setup.primary(first), |setup, endpoint| setup.secondary(endpoint)).start().await
}

async fn asked(app: &TestApp, headers: &[(&str, &str)], stream: bool) -> Answer {
    let headers = [&[TRAFFIC], headers].concat();
    app.client().await.post("/v1/messages", &headers, body(stream)).await
}

/// A span as the collector got it.
#[derive(Clone, Debug)]
struct Span(Value);

impl Span {
    fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_default()
    }

    /// An attribute as text; empty where it is not there.
    fn told(&self, name: &str) -> String {
        let attributes = self.0["attributes"].as_array().unwrap();
        let found = attributes.iter().find(|attribute| attribute["key"] == name).map(|found| &found["value"]);
        let text = found.and_then(|value| value["stringValue"].as_str().or(value["intValue"].as_str()));
        text.unwrap_or_default().to_owned()
    }

    fn is_error(&self) -> bool {
        self.0["status"]["code"] == 2
    }

    fn lasts(&self) -> std::ops::RangeInclusive<u128> {
        let at = |name| self.text(name).parse().unwrap();
        at("startTimeUnixNano")..=at("endTimeUnixNano")
    }
}

/// All spans that the collector got, the requests' before those of their attempts.
fn spans(collector: &Upstream) -> Vec<Span> {
    let mut spans = Vec::new();
    for request in collector.requests() {
        assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/v1/traces"));
        assert_eq!(request.header("content-type"), Some("application/json"));
        let sent = request.json();
        let resource = &sent["resourceSpans"][0];
        assert_eq!(resource["resource"]["attributes"][0]["value"]["stringValue"], "qcc-gateway");
        spans.extend(resource["scopeSpans"][0]["spans"].as_array().unwrap().iter().cloned().map(Span));
    }
    spans.sort_by_key(|span| span.0["kind"].as_u64());
    spans
}

fn traceparent(request: &Recorded) -> Vec<String> {
    request.header("traceparent").unwrap().split('-').map(str::to_owned).collect()
}

#[actix_web::test]
async fn a_failover_is_one_trace_with_a_span_for_each_attempt() {
    let (collector, bad, good) =
        (collector().await, Upstream::anthropic("bad").await, Upstream::anthropic("good").await);
    bad.behave(Behaviour::always(status(500)));
    let app = traced(&collector, &[&bad, &good]).await;
    let parent = format!("00-{TRACE}-{SPAN}-01");
    let headers = [
        ("traceparent", parent.as_str()),
        ("tracestate", "vendor=1"),
        ("x-request-id", "r1"),
        ("x-conversation-id", "s1"),
    ];
    assert_eq!(asked(&app, &headers, false).await.status, 200);
    app.traces_are_sent().await;
    let spans = spans(&collector);
    let [request, first, second] = spans.as_slice() else { panic!("{spans:?}") };

    assert!(spans.iter().all(|span| span.text("traceId") == TRACE), "{spans:?}");
    let started =
        app.stats().await["start_time"].as_str().and_then(|time| humantime::parse_rfc3339(time).ok()).unwrap();
    let started = started.duration_since(UNIX_EPOCH).unwrap();
    let present = started.as_nanos()..(started + Duration::from_secs(3600)).as_nanos();
    assert!(spans.iter().all(|span| present.contains(span.lasts().end())), "not of this time of day: {spans:?}");
    assert_eq!((request.text("parentSpanId"), request.text("name")), (SPAN, "POST /v1/messages"));
    for (attempt, upstream) in [(first, &bad), (second, &good)] {
        assert_eq!(attempt.text("parentSpanId"), request.text("spanId"));
        let got = &upstream.traffic_requests()[0];
        assert_eq!(
            traceparent(got),
            ["00", TRACE, attempt.text("spanId"), "01"],
            "the endpoint's parent is the attempt"
        );
        assert_eq!(got.header("tracestate"), Some("vendor=1"));
        assert!(request.lasts().contains(attempt.lasts().start()) && request.lasts().contains(attempt.lasts().end()));
    }

    for (name, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/v1/messages"),
        ("url.path", "/v1/messages"),
        ("http.response.status_code", "200"),
        ("gen_ai.request.model", "claude-haiku-4-5"),
        ("gen_ai.conversation.id", "s1"),
        ("qcc.request.id", "r1"),
        ("qcc.profile", "default"),
        ("qcc.outcome", "successful"),
        ("qcc.attempts", "2"),
        ("qcc.endpoint", "good"),
        ("error.type", ""),
    ] {
        assert_eq!(request.told(name), value, "{name}");
    }
    let (port, bads_port) = (good.address().port().to_string(), bad.address().port().to_string());
    for (name, of_first, of_second) in [
        ("gen_ai.operation.name", "chat", "chat"),
        ("gen_ai.provider.name", "anthropic", "anthropic"),
        ("gen_ai.request.model", "claude-haiku-4-5", "claude-haiku-4-5"),
        ("server.address", "127.0.0.1", "127.0.0.1"),
        ("server.port", &bads_port, &port),
        ("http.response.status_code", "500", "200"),
        ("http.request.resend_count", "", "1"),
        ("error.type", "500", ""),
        ("gen_ai.usage.input_tokens", "", "40"),
        ("gen_ai.usage.output_tokens", "", "3"),
        ("qcc.endpoint", "bad", "good"),
        ("qcc.outcome", "500", "ok"),
        ("qcc.upstream_request.id", "req_bad_0", "req_good_0"),
    ] {
        assert_eq!((first.told(name).as_str(), second.told(name).as_str()), (of_first, of_second), "{name}");
    }
    assert_eq!((request.is_error(), first.is_error(), second.is_error()), (false, true, false));
    assert_eq!(first.0["status"]["message"], "HTTP 500 api_error");
    assert_eq!(second.text("name"), "chat claude-haiku-4-5");
    app.finish().await;
}

#[actix_web::test]
async fn without_a_valid_parent_a_trace_begins_here() {
    let (collector, upstream) = (collector().await, Upstream::anthropic("a").await);
    let app = traced(&collector, &[&upstream]).await;
    let (valid, invalid) = (format!("00-{TRACE}-{SPAN}-01"), format!("00-{TRACE}-{SPAN}-1"));
    for headers in [
        vec![],
        vec![("traceparent", invalid.as_str()), ("tracestate", "vendor=1")],
        vec![("traceparent", valid.as_str()), ("traceparent", valid.as_str()), ("tracestate", "vendor=1")],
    ] {
        assert_eq!(asked(&app, &headers, false).await.status, 200);
    }
    app.traces_are_sent().await;
    let spans = spans(&collector);
    for (number, got) in upstream.traffic_requests().iter().enumerate() {
        let [request, attempt] = [&spans[number], &spans[number + 3]];
        assert_eq!((request.text("parentSpanId"), request.text("traceId") == TRACE), ("", false));
        assert_eq!(attempt.text("parentSpanId"), request.text("spanId"));
        let told: Vec<String> = traceparent(got);
        assert_eq!(told, ["00", request.text("traceId"), attempt.text("spanId"), "01"]);
        assert_eq!(got.header("tracestate"), None, "it belonged to another trace");
        assert_eq!(got.headers.0.iter().filter(|(name, _)| name.eq_ignore_ascii_case("traceparent")).count(), 1);
    }
    app.finish().await;
}

#[actix_web::test]
async fn a_trace_that_is_not_recorded_passes_through_and_sends_nothing() {
    let (collector, upstream) = (collector().await, Upstream::anthropic("a").await);
    let app = traced(&collector, &[&upstream]).await;
    let parent = format!("00-{TRACE}-{SPAN}-00");
    asked(&app, &[("traceparent", &parent), ("tracestate", "vendor=1")], false).await;
    app.traces_are_sent().await;
    let got = &upstream.traffic_requests()[0];
    assert_eq!((got.header("traceparent"), got.header("tracestate")), (Some(parent.as_str()), Some("vendor=1")));
    assert_eq!(collector.total(), 0);
    app.finish().await;
}

#[actix_web::test]
async fn off_nothing_is_sent_and_nothing_is_changed() {
    let upstream = Upstream::anthropic("a").await;
    let app = Setup::new().primary(&upstream).start().await;
    for parent in [format!("00-{TRACE}-{SPAN}-01"), "nonsense".to_owned()] {
        asked(&app, &[("traceparent", &parent), ("tracestate", "vendor=1")], false).await;
        let got = upstream.traffic_requests().pop().unwrap();
        assert_eq!((got.header("traceparent"), got.header("tracestate")), (Some(parent.as_str()), Some("vendor=1")));
    }
    asked(&app, &[], false).await;
    assert_eq!(upstream.traffic_requests().pop().unwrap().header("traceparent"), None);
    app.finish().await;
}

#[actix_web::test]
async fn an_endpoints_own_headers_go_before_the_trace() {
    let (collector, upstream) = (collector().await, Upstream::anthropic("a").await);
    let own = "headers = { traceparent = \"mine\" }";
    let app = Setup::new()
        .section("otel", &format!("endpoint = \"{}\"", collector.base_url()))
        .endpoint("a", &upstream.base_url(), own)
        .start()
        .await;
    asked(&app, &[], false).await;
    assert_eq!(upstream.traffic_requests()[0].header("traceparent"), Some("mine"));
    app.finish().await;
}

#[actix_web::test]
async fn other_paths_have_spans_whose_names_do_not_multiply() {
    let (collector, upstream) = (collector().await, Upstream::anthropic("a").await);
    let app = traced(&collector, &[&upstream]).await;
    assert_eq!(app.client().await.get("/v1/models/one?key=hunter2", &[TRAFFIC]).await.status, 200);
    app.traces_are_sent().await;
    let spans = spans(&collector);
    let [request, attempt] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!((request.text("name"), request.told("url.path").as_str()), ("GET", "/v1/models/one"));
    assert_eq!((attempt.text("name"), attempt.told("gen_ai.operation.name").as_str()), ("proxy", ""));
    app.finish().await;
}

#[actix_web::test]
async fn every_ending_has_its_span() {
    let (collector, upstream) = (collector().await, Upstream::anthropic("a").await);
    let app = traced(&collector, &[&upstream]).await;
    upstream.script_traffic([sse(2).then_end(), status(400), sse(2).then_cut(), hold("open").then(ok())]);
    assert_eq!(asked(&app, &[("x-request-id", "whole")], true).await.status, 200);
    assert_eq!(asked(&app, &[("x-request-id", "rejected")], false).await.status, 400);
    assert_eq!(asked(&app, &[("x-request-id", "broken")], true).await.status, 200);
    let mut client = app.client().await;
    client.send_request("POST", "/v1/messages", &[TRAFFIC, ("x-request-id", "left")], body(false).as_bytes()).await;
    upstream.gates().reached("open").await;
    drop(client);
    eventually("the client's leaving is seen", async || app.stats().await["cancelled_requests"] == 1).await;
    app.traces_are_sent().await;
    let spans = spans(&collector);
    for (id, outcome, attempts, request_fails, attempt_fails) in [
        ("whole", "successful", "ok", false, false),
        ("rejected", "rejected", "400", false, true),
        ("broken", "failed", "stream", true, true),
        ("left", "cancelled", "cancelled", false, false),
    ] {
        let request = spans.iter().find(|span| span.told("qcc.request.id") == id).unwrap_or_else(|| panic!("{id}"));
        let attempt = spans.iter().find(|span| span.text("parentSpanId") == request.text("spanId")).unwrap();
        let told = (request.told("qcc.outcome"), attempt.told("qcc.outcome"));
        assert_eq!(told, (outcome.to_owned(), attempts.to_owned()), "{id}");
        assert_eq!((request.is_error(), attempt.is_error()), (request_fails, attempt_fails), "{id}");
    }
    app.finish().await;
}

#[actix_web::test]
async fn spans_hold_nothing_of_what_is_said_and_no_secret() {
    let (collector, upstream) = (collector().await, Upstream::anthropic("a").await);
    let app = Setup::new()
        .section("otel", &format!("endpoint = \"{}\"", collector.base_url().replace("://", "://user:p%40ss@")))
        .endpoint("a", &upstream.base_url(), "api_key = \"hunter2-key\"\nheaders = { x-team = \"hunter2-team\" }")
        .section("clients.alice", "key = \"hunter2-alice\"")
        .start()
        .await;
    asked(&app, &[("x-api-key", "hunter2-alice"), ("cookie", "hunter2-cookie")], true).await;
    asked(&app, &[("x-api-key", "hunter2-wrong")], false).await;
    app.traces_are_sent().await;
    assert_eq!(spans(&collector).len(), 3);
    for request in collector.requests() {
        // user:p@ss
        assert_eq!(request.header("authorization"), Some("Basic dXNlcjpwQHNz"));
        let text = String::from_utf8_lossy(&request.body).into_owned();
        assert!(!text.contains("hunter2") && !text.contains("Say hello") && !text.contains("hello"), "{text}");
        assert!(text.contains("alice"));
    }
    app.finish().await;
}

#[actix_web::test]
async fn what_the_collector_can_not_take_now_comes_again() {
    let (collector, upstream) = (collector().await, Upstream::anthropic("a").await);
    let app = traced(&collector, &[&upstream]).await;
    collector.script([status(503), raw("HTTP/1.1 2"), status(400)]);
    for id in ["one", "two", "three"] {
        asked(&app, &[("x-request-id", id)], false).await;
        app.traces_are_sent().await;
    }
    asked(&app, &[("x-request-id", "four")], false).await;
    app.traces_are_sent().await;
    let batches: Vec<usize> = collector
        .requests()
        .iter()
        .map(|request| request.json()["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().len())
        .collect();
    // What got a 503 or half a head came again; what got a 400 did not.
    assert_eq!(batches, [2, 4, 6, 2]);
    eventually("what is lost is told", async || app.stats().await["spans_lost"] == 6).await;
    let metrics = app.client().await.get("/__qcc__/metrics", &LOCAL).await.text();
    assert!(metrics.contains("\nqcc_spans_lost_total 6\n"), "{metrics}");
    app.finish().await;
}

#[actix_web::test]
async fn a_collector_that_is_gone_or_silent_hinders_nobody() {
    let upstream = Upstream::anthropic("a").await;
    let silent = Upstream::anthropic("silent").await;
    silent.behave(Behaviour::always(never_answer()));
    for collector in ["http://127.0.0.1:1".to_owned(), silent.base_url()] {
        let text = format!("[otel]\nendpoint = \"{}\"", collector.replace("://", "://user:hunter2@"));
        let mut gateway = Process::start(settings(&text, &[&upstream])).await;
        let mut client = RawClient::connect(gateway.address).await;
        // More than a batch, so that it is tried at once.
        let traffic = async {
            for _ in 0..300 {
                assert_eq!(client.post("/v1/messages", &[TRAFFIC], body(false)).await.status, 200);
            }
        };
        gateway.while_read(traffic).await;
        if collector.ends_with(":1") {
            let line = gateway.logs("traces: the collector at http://127.0.0.1:1 does not take them").await;
            assert!(line.contains("WARN") && line.contains("0 span(s) lost"), "{line}");
        } else {
            silent.received(1).await;
        }
        gateway.signal("TERM").await;
        let (status, log) = gateway.ended().await;
        assert_eq!(status.code(), Some(0));
        assert!(!log.iter().any(|line| line.contains("hunter2")), "{log:?}");
        assert_eq!(
            log.iter().filter(|line| line.contains("does not take them")).count(),
            usize::from(collector.ends_with(":1"))
        );
    }
}

#[actix_web::test]
async fn the_last_spans_are_sent_when_it_stops() {
    let (collector, upstream) = (collector().await, Upstream::anthropic("a").await);
    let app = traced(&collector, &[&upstream]).await;
    asked(&app, &[], false).await;
    app.finish().await;
    assert_eq!(spans(&collector).len(), 2);
}

/// Anybody can ask in any words, before a key is looked at, and spans wait where the collector is away.
#[actix_web::test]
async fn a_method_that_a_client_has_made_up_names_no_span() {
    let (collector, a) = (collector().await, Upstream::anthropic("a").await);
    let app = traced(&collector, &[&a]).await;
    let made_up = "X".repeat(5000);
    let mut client = app.client().await;
    client.send_request(&made_up, "/v1/models", &[TRAFFIC], b"").await;
    client.answer().await;
    app.traces_are_sent().await;
    let spans = spans(&collector);
    assert_eq!((spans[0].text("name"), spans[0].told("http.request.method").as_str()), ("HTTP", "_OTHER"));
    assert!(spans.iter().all(|span| !span.0.to_string().contains(&made_up)));
    app.finish().await;
}
