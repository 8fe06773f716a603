//! The gateway's own routes: who may use them, and that nothing like them is ever proxied.

use serde_json::json;

use crate::support::app::{LOCAL, Setup, TRAFFIC};
use crate::support::upstream::Upstream;

#[actix_web::test]
async fn health_tells_whether_it_runs_and_takes_requests() {
    let upstream = Upstream::anthropic("a").await;
    let app = Setup::new().primary(&upstream).verified_on_demand().start().await;
    let mut client = app.client().await;
    assert_eq!(client.get("/__qcc__/health/live", &[("host", "x")]).await.status, 400, "two hosts are no HTTP request");
    let mut client = app.client().await;
    assert_eq!(client.get("/__qcc__/health/live", &LOCAL).await.status, 200);
    assert_eq!(
        client.get("/__qcc__/health/ready", &LOCAL).await.json(),
        json!({ "status": "ready", "usable_endpoints": 1 })
    );
    app.admin("a", "isolate").await;
    let ready = client.get("/__qcc__/health/ready", &LOCAL).await;
    assert_eq!(
        (ready.status, ready.json()),
        (200, json!({ "status": "ready", "usable_endpoints": 0 })),
        "it still answers best"
    );
    app.finish().await;
}

#[actix_web::test]
async fn without_a_token_the_routes_are_for_this_machine_alone() {
    let upstream = Upstream::anthropic("a").await;
    let app = Setup::new().primary(&upstream).start().await;
    let port = app.address().port();
    let asked = async |method: &str, path: &str, host: &str, headers: &str| {
        let mut client = app.client().await;
        let length = if method == "POST" { "content-length: 0\r\n" } else { "" };
        client.send(format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n{length}{headers}\r\n").as_bytes()).await;
        client.answer().await.status
    };
    let local = format!("localhost:{port}");
    for (host, headers, status) in [
        (local.as_str(), "", 200),
        ("127.0.0.1", "", 200),
        ("[::1]:80", "", 200),
        ("evil.example", "", 403),
        ("127.0.0.1.evil.example", "", 403),
        (local.as_str(), "x-forwarded-for: 1.2.3.4\r\n", 403),
        (local.as_str(), "forwarded: for=1.2.3.4\r\n", 403),
        (local.as_str(), "via: 1.1 proxy\r\n", 403),
    ] {
        assert_eq!(asked("GET", "/__qcc__/stats", host, headers).await, status, "{host} {headers}");
        assert_eq!(asked("GET", "/__qcc__/health/ready", host, headers).await, 200, "health is for anyone");
    }
    for (headers, status) in [
        ("", 200),
        ("origin: http://evil.example\r\n", 403),
        ("sec-fetch-site: cross-site\r\n", 403),
        ("sec-fetch-site: same-origin\r\n", 200),
    ] {
        assert_eq!(asked("POST", "/__qcc__/endpoints/a/enable", &local, headers).await, status, "{headers}");
    }
    app.finish().await;
}

#[actix_web::test]
async fn nothing_that_begins_like_an_own_route_is_ever_proxied() {
    let upstream = Upstream::anthropic("a").await;
    let server = "host = \"127.0.0.1\"\nport = 0\nworkers = 1\nother_paths = [\"*\"]";
    let app = Setup::only().section("server", server).primary(&upstream).start().await;
    for path in [
        "/__qcc__",
        "/__qcc__//",
        "/__qcc__/nothing",
        "/__QCC__/stats",
        "//__qcc__/stats",
        "/./__qcc__/stats",
        "/x/../__qcc__/stats",
        "/%5f%5fqcc%5f%5f/stats",
        "/%255f_qcc__/stats",
        "/__qcc__%2fstats",
        "/__qcc__/../v1/models",
        "/__qcc__/stats/",
        "/\\__qcc__/stats",
    ] {
        let answer = app.client().await.get(path, &[TRAFFIC]).await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
    }
    assert_eq!(app.client().await.post("/__qcc__/stats", &[TRAFFIC], "").await.status, 405);
    assert_eq!(app.client().await.get("/__qcc__/endpoints/a/isolate", &[TRAFFIC]).await.status, 405);
    assert_eq!(upstream.total(), 0);
    assert_eq!(app.client().await.get("/any/thing", &[TRAFFIC]).await.header("x-qcc-endpoint"), Some("a"));
    app.finish().await;
}

#[actix_web::test]
async fn every_field_of_the_stats_is_there_from_the_start() {
    let upstream = Upstream::anthropic("a").await;
    let app = Setup::new().primary(&upstream).start().await;
    let stats = app.stats().await;
    for name in [
        "version",
        "start_time",
        "uptime",
        "total_requests",
        "successful_requests",
        "failed_requests",
        "cancelled_requests",
        "rejected_requests",
        "success_rate",
        "avg_response_time",
        "requests_per_second",
        "retries",
        "parked",
        "last_used_endpoint_id",
        "total_endpoints",
        "healthy_endpoints",
        "failed_endpoints",
        "failure_queue_size",
        "endpoint_verify_counts",
        "leaks",
        "config_last_reload_successful",
        "queues",
        "endpoints",
        "clients",
        "teams",
        "series",
        "tokens",
        "cost",
        "unpriced",
    ] {
        assert!(stats.get(name).is_some(), "{name}");
    }
    for name in [
        "id",
        "profiles",
        "base_url",
        "protocol",
        "standing",
        "home",
        "epoch",
        "enabled",
        "overruled",
        "weight",
        "effective_weight",
        "in_use",
        "in_flight",
        "status",
        "breaker",
        "consecutive_failures",
        "requests",
        "successes",
        "failures",
        "cancelled",
        "success_rate",
        "latency_ms",
        "ttft_ms",
        "tokens",
        "cost",
        "unpriced",
        "verification_tokens",
        "verification_cost",
        "isolated_at",
        "isolated_reason",
        "last_error",
        "verify_count",
        "next_verification",
        "last_verification",
        "proven",
        "cooldowns",
        "rate_limits",
        "windows",
    ] {
        assert!(stats["endpoints"][0].get(name).is_some(), "{name}");
    }
    app.message().await;
    let stats = app.stats().await;
    assert_eq!((&stats["total_requests"], &stats["successful_requests"]), (&json!(1), &json!(1)));
    assert_eq!((&stats["last_used_endpoint_id"], &stats["endpoints"][0]["in_use"]), (&json!("a"), &json!(true)));
    assert_eq!(stats["endpoints"][0]["proven"], true);
    assert!(stats["endpoints"][0]["latency_ms"]["p50"].as_f64().unwrap() > 0.0);
    app.finish().await;
}

#[actix_web::test]
async fn warm_ups_and_the_root_are_answered_by_the_gateway_and_count_nowhere() {
    let upstream = Upstream::anthropic("a").await;
    let app = Setup::new().primary(&upstream).section("clients.alice", "key = \"k\"").start().await;
    let mut client = app.client().await;
    assert_eq!(client.head("/", &LOCAL).await.status, 200);
    assert_eq!(client.head("/api/hello", &LOCAL).await.status, 200);
    assert!(client.get("/", &LOCAL).await.text().contains("qcc-gateway"));
    assert_eq!((upstream.total(), &app.stats().await["total_requests"]), (0, &json!(0)));
    app.finish().await;
}

#[actix_web::test]
async fn what_the_own_routes_tell_is_kept_by_no_cache() {
    let upstream = Upstream::anthropic("a").await;
    let app = Setup::new().primary(&upstream).verified_on_demand().start().await;
    let mut client = app.client().await;
    for path in ["health/live", "health/ready", "", "stats", "metrics", "usage", "usage?format=csv", "events", "logs"] {
        let answer = client.get(&format!("/__qcc__/{path}"), &LOCAL).await;
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
    }
    assert_eq!(app.admin("a", "verify").await.header("cache-control"), Some("no-store"));
    let asset = client.get("/__qcc__/assets/main.js", &LOCAL).await;
    assert_eq!(asset.header("cache-control"), Some("no-cache"), "a browser asks each time, and may keep it");
    app.finish().await;
}
