use serde_json::{Value, json};

use super::super::paint::Colour;
use super::*;

fn endpoint(id: &str, standing: &str, status: &str, more: &Value) -> Value {
    let mut row = json!({
        "id": id, "standing": standing, "status": status, "breaker": "closed", "in_flight": 0, "successes": 0, "failures": 0,
        "success_rate": 100.0, "latency_ms": { "avg": 0.0, "p50": 0.0, "p95": 0.0, "p99": 0.0 },
        "isolated_reason": null, "last_error": null, "next_verification": null, "cooldowns": [],
    });
    for (name, value) in more.as_object().unwrap() {
        row[name] = value.clone();
    }
    row
}

fn view(endpoints: &[Value], more: &Value) -> View {
    let mut stats = json!({
        "version": "0.1.0", "start_time": "2026-01-01T00:00:00Z", "uptime": 3725.5, "total_requests": 1234,
        "success_rate": 99.96, "failed_requests": 1, "retries": 5, "parked": 0, "leaks": 0, "endpoints": endpoints,
    });
    for (name, value) in more.as_object().unwrap() {
        stats[name] = value.clone();
    }
    View::read(stats.to_string().as_bytes()).unwrap()
}

const WIDE: Look = Look { colour: Colour::Plain, width: None };

#[test]
fn queue_by_queue_each_endpoint_has_a_row() {
    let latency = json!({ "p50": 210.4, "p95": 1900.0 });
    let endpoints = [
        endpoint(
            "broken",
            "failure",
            "unhealthy",
            &json!({
                "breaker": "open", "failures": 3, "success_rate": 0.0, "latency_ms": { "p50": 4.0, "p95": 5.0 },
                "ttft_ms": { "p50": 0.0, "p95": 0.0 },
                "isolated_reason": "upstream_status", "last_error": "HTTP 500 api_error",
                "next_verification": "2026-01-01T01:02:17.700Z", "verify_count": 5,
                "last_verification": { "ok": false, "error": "HTTP 401 authentication_error" },
            }),
        ),
        // Each time it met a rate limit, which is neither.
        endpoint("spare", "secondary", "healthy", &json!({ "requests": 5 })),
        endpoint("off", "disabled", "disabled", &json!({ "last_error": "HTTP 500" })),
        // Requests were sent there, and none was answered.
        endpoint("gone", "failure", "unhealthy", &json!({ "breaker": "open", "failures": 3, "success_rate": 0.0 })),
        endpoint(
            "main",
            "primary",
            "degraded",
            &json!({
                "in_flight": 12, "successes": 9999, "failures": 1, "success_rate": 99.99, "latency_ms": latency,
                "ttft_ms": { "p50": 35.2, "p95": 80.0 }, "cooldowns": [
                    { "model": "b", "until": "2026-01-01T02:00:00Z", "reason": "rate_limit" },
                    { "model": "a", "until": "2026-01-01T01:02:10.500Z", "reason": "rate_limit" },
                ],
            }),
        ),
    ];
    let picture = draw(&view(&endpoints, &json!({})), Some(Pace { requests_per_second: 12.34 }), WIDE);
    let expected = "\
qcc-gateway 0.1.0  up 1h 2m
requests 1234  12.3/s  success 99.9 %  failed 1  retries 5  parked 0  leaks 0

id      queue      status     breaker  in flight  success    p50   p95  ttft  next  why
main    primary    degraded   closed          12   99.9 %  210ms  1.9s  35ms     -  a rests for 5s
spare   secondary  healthy    closed           0        -      -     -     -     -
broken  failure    unhealthy  open             0    0.0 %    4ms   5ms     -   12s  upstream_status: HTTP 500 api_error; verification 5: HTTP 401 authentication_error
gone    failure    unhealthy  open             0    0.0 %      -     -     -     -
off     disabled   disabled   closed           0        -      -     -     -     -
";
    assert_eq!(picture, expected);
}

#[test]
fn why_and_when_are_told_in_few_words() {
    let isolated = json!({ "breaker": "half_open", "isolated_reason": "credential" });
    let exhausted = json!({ "cooldowns": [{ "until": "2026-01-01T04:02:05Z" }] });
    let of_model = json!({ "cooldowns": [
        { "model": "later", "until": "2026-01-01T03:02:05Z" },
        { "model": "claude-sonnet-4-5", "until": "2026-01-01T02:02:05Z" },
        { "model": null, "until": "2026-01-01T03:02:05Z" },
    ] });
    let of_two = json!({ "cooldowns": [
        { "model": "haiku", "until": "2026-01-01T01:02:06Z", "exhausted": false },
        { "model": "opus", "until": "2026-01-01T04:02:05Z", "exhausted": true },
    ] });
    let verified = |count: u64, ok: bool| {
        let error = (!ok).then_some("HTTP 401");
        json!({
            "isolated_reason": "timeout", "verify_count": count, "last_verification": { "ok": ok, "error": error },
        })
    };
    for (row, next, why) in [
        (endpoint("a", "failure", "unhealthy", &isolated), "now", "credential"),
        (endpoint("a", "primary", "exhausted", &exhausted), "-", "used up for 2h 59m"),
        (endpoint("a", "primary", "exhausted", &of_model), "-", "claude-sonnet-4-5 used up for 59m 59s"),
        (endpoint("a", "failure", "unhealthy", &verified(2, false)), "-", "timeout; verification 2: HTTP 401"),
        // The verification was from before the isolation.
        (endpoint("a", "failure", "unhealthy", &verified(0, false)), "-", "timeout"),
        (endpoint("a", "failure", "unhealthy", &verified(1, true)), "-", "timeout"),
        (endpoint("a", "primary", "degraded", &json!({ "last_error": "HTTP 502" })), "-", "HTTP 502"),
        (endpoint("a", "primary", "healthy", &json!({ "last_error": "HTTP 502" })), "-", ""),
        (endpoint("a", "failure", "unhealthy", &json!({ "next_verification": "soon" })), "-", ""),
        (endpoint("a", "primary", "exhausted", &of_two), "-", "opus used up for 2h 59m"),
        (endpoint("a", "disabled", "disabled", &json!({})), "-", ""),
        (
            endpoint("a", "disabled", "disabled", &json!({ "overruled": "off" })),
            "-",
            "by an admin; the settings have it on",
        ),
    ] {
        let view = view(std::slice::from_ref(&row), &json!({}));
        let found = (super::next(&view.endpoints[0], &view), super::why(&view.endpoints[0], &view));
        assert_eq!(found, (next.to_owned(), why.to_owned()), "{row}");
    }
}

#[test]
fn settings_that_a_restart_would_refuse_are_told_of() {
    let drawn = |more: &Value| draw(&view(&[], more), None, WIDE);
    let faulty = drawn(&json!({ "config_last_reload_successful": false }));
    assert!(faulty.lines().nth(2).is_some_and(|line| line.starts_with("settings FAULTY")), "{faulty}");
    for sound in [json!({ "config_last_reload_successful": true }), json!({})] {
        assert!(!drawn(&sound).contains("FAULTY"), "{sound}");
    }
}

#[test]
fn a_leak_is_an_alarm() {
    let coloured = |leaks: u64| {
        let look = Look { colour: Colour::Ansi, width: None };
        draw(&view(&[], &json!({ "leaks": leaks })), None, look)
    };
    assert!(coloured(0).contains("\u{1b}[32m  leaks 0\u{1b}[0m"));
    assert!(coloured(2).contains("\u{1b}[1m\u{1b}[31m  LEAKS 2: a broken promise"), "{:?}", coloured(2));
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    let long = json!({ "isolated_reason": "timeout", "last_error": "x".repeat(500) });
    let view = view(&[endpoint("a", "failure", "unhealthy", &long)], &json!({}));
    for width in [1, 20, 80, 120] {
        let picture = draw(&view, None, Look { colour: Colour::Plain, width: Some(width) });
        assert!(picture.lines().all(|line| line.chars().count() <= width), "{picture}");
    }
}

#[test]
fn what_is_left_out_is_told_and_never_the_note() {
    for (note, height, lines) in [
        ("", None, &["1", "2", "3"][..]),
        ("", Some(3), &["1", "2", "3"]),
        ("", Some(2), &["1", "… 2 more"]),
        ("", Some(1), &["… 3 more"]),
        ("lost\n", None, &["1", "2", "3", "", "lost"]),
        ("lost\n", Some(5), &["1", "2", "3", "", "lost"]),
        ("lost\n", Some(4), &["1", "2", "3", "lost"]),
        ("lost\n", Some(3), &["1", "… 2 more", "lost"]),
        ("lost\n", Some(2), &["… 3 more", "lost"]),
        ("lost\n", Some(1), &["lost"]),
        ("lost\n", Some(0), &[]),
    ] {
        assert_eq!(fit("1\n2\n3\n", note, height, WIDE), lines, "{note:?} {height:?}");
    }
    let narrow = Look { colour: Colour::Plain, width: Some(4) };
    assert_eq!(fit("1\n2\n3\n", "", Some(2), narrow), ["1", "… 2…"]);
}

#[test]
fn the_pace_is_what_went_on_between_two_looks() {
    let at = |uptime: f64, requests: u64| view(&[], &json!({ "uptime": uptime, "total_requests": requests }));
    for (earlier, later, pace) in [
        (at(10.0, 100), at(12.0, 130), Some(15.0)),
        (at(10.0, 100), at(12.0, 100), Some(0.0)),
        (at(10.0, 100), at(2.0, 5), None),
        (at(10.0, 0), at(2.0, 5), None),
    ] {
        let found = Pace::between(&earlier, &later).map(|pace| pace.requests_per_second);
        assert_eq!(found, pace, "{} {}", earlier.uptime, later.uptime);
    }
}

#[test]
fn what_is_no_gateways_stats_is_refused() {
    for text in ["", "{}", "[]", "<html>", r#"{"version":"1"}"#] {
        assert!(View::read(text.as_bytes()).is_err(), "{text}");
    }
}
