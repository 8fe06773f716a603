//! What is scraped: the contract's names and labels, counters that only grow, labels that clients can't multiply.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};

use crate::support::app::{LOCAL, Setup, TRAFFIC, TestApp, body};
use crate::support::eventually::eventually;
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{hold, ok, sse, status, status_and, status_with};

/// The contract's names, and the labels of each.
const CONTRACT: [(&str, &[&str]); 40] = [
    ("qcc_requests_total", &["profile", "client", "outcome"]),
    ("qcc_attempts_total", &["endpoint", "outcome", "code"]),
    ("qcc_request_duration_seconds", &["endpoint"]),
    ("qcc_time_to_first_token_seconds", &["endpoint"]),
    ("qcc_in_flight", &["endpoint"]),
    ("qcc_usable_endpoints", &["profile", "protocol"]),
    ("qcc_endpoint_standing", &["endpoint", "standing"]),
    ("qcc_endpoint_isolated", &["endpoint", "reason"]),
    ("qcc_endpoint_cooldown", &["endpoint"]),
    ("qcc_endpoint_exhausted", &["endpoint"]),
    ("qcc_endpoint_info", &["endpoint", "protocol", "home", "host"]),
    ("qcc_failure_queue_size", &[]),
    ("qcc_isolations_total", &["endpoint", "reason"]),
    ("qcc_recoveries_total", &["endpoint"]),
    ("qcc_verifications_total", &["endpoint", "result"]),
    ("qcc_verification_tokens_total", &["endpoint"]),
    ("qcc_endpoint_last_verification_timestamp_seconds", &["endpoint"]),
    ("qcc_retries_total", &[]),
    ("qcc_parked", &[]),
    ("qcc_buffered_bytes", &[]),
    ("qcc_sessions", &[]),
    ("qcc_tokens_total", &["endpoint", "client", "model", "kind"]),
    ("qcc_cost_dollars_total", &["endpoint", "client"]),
    ("qcc_ratelimit_remaining", &["endpoint", "kind"]),
    ("qcc_config_last_reload_successful", &[]),
    ("qcc_config_last_reload_success_timestamp_seconds", &[]),
    ("qcc_state_file_writable", &[]),
    ("qcc_notices_lost_total", &[]),
    ("qcc_log_lines_lost_total", &[]),
    ("qcc_spans_lost_total", &[]),
    ("qcc_leaks_total", &[]),
    ("qcc_build_info", &["version"]),
    // What Prometheus' own clients tell of a process.
    ("process_start_time_seconds", &[]),
    ("process_resident_memory_bytes", &[]),
    ("process_open_fds", &[]),
    ("process_max_fds", &[]),
    // A histogram's own series.
    ("qcc_request_duration_seconds_bucket", &["endpoint", "le"]),
    ("qcc_request_duration_seconds_count", &["endpoint"]),
    ("qcc_time_to_first_token_seconds_bucket", &["endpoint", "le"]),
    ("qcc_time_to_first_token_seconds_sum", &["endpoint"]),
];

/// One scrape.
struct Scrape {
    text: String,
    /// Series as they are written, with their labels.
    samples: BTreeMap<String, f64>,
}

impl Scrape {
    async fn of(app: &TestApp) -> Self {
        let answer = app.client().await.get("/__qcc__/metrics", &LOCAL).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        let text = answer.text();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap_or_else(|_| panic!("{line}")))
        };
        let samples: BTreeMap<String, f64> = lines.clone().map(sample).collect();
        assert_eq!(samples.len(), lines.count(), "a series stands there twice:\n{text}");
        Self { text, samples }
    }

    fn value(&self, series: &str) -> f64 {
        *self.samples.get(series).unwrap_or_else(|| panic!("no {series} in\n{}", self.text))
    }

    fn families(&self) -> BTreeSet<&str> {
        let types = self.text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        types.map(|line| line.split(' ').next().unwrap()).collect()
    }

    #[track_caller]
    fn has(&self, series: &str, value: f64) {
        assert!((self.value(series) - value).abs() < 1e-9, "{series} is {}, not {value}", self.value(series));
    }
}

/// `name{a="b",c="d"}` as name and labels' names.
fn parts(series: &str) -> (&str, Vec<&str>) {
    let Some((name, labels)) = series.split_once('{') else { return (series, Vec::new()) };
    let labels = labels.trim_end_matches('}').split("\",").filter_map(|label| Some(label.split_once('=')?.0));
    (name, labels.collect())
}

async fn ask(app: &TestApp, headers: &[(&str, &str)], model: &str) {
    let body = json!({ "model": model, "max_tokens": 1, "messages": [] }).to_string();
    app.client().await.post("/v1/messages", &[&[TRAFFIC], headers].concat(), body).await;
}

#[actix_web::test]
async fn every_name_of_the_contract_is_scraped_with_its_labels() {
    let a = Upstream::anthropic("a").await;
    let headers = [("content-type", "application/json"), ("anthropic-ratelimit-requests-remaining", "59")];
    a.script_traffic([
        status_with(200, &headers, "{\"type\":\"message\",\"content\":[],\"usage\":{\"input_tokens\":1}}"),
        sse(2).then_end(),
    ]);
    let app = Setup::new()
        .primary(&a)
        .verified_on_demand()
        .section("prices.\"*\"", "input = 1.0\noutput = 1.0")
        .start()
        .await;
    let mut client = app.client().await;
    for stream in [false, true] {
        client.send_request("POST", "/v1/messages", &[TRAFFIC], body(stream).as_bytes()).await;
        assert_eq!(client.answer().await.status, 200);
    }
    assert_eq!(app.admin("a", "verify").await.status, 200);
    assert_eq!(app.admin("a", "isolate").await.status, 200);
    let scrape = Scrape::of(&app).await;
    let families = scrape.families();
    for (name, labels) in CONTRACT {
        let own: Vec<_> = scrape.samples.keys().map(|series| parts(series)).filter(|(its, _)| *its == name).collect();
        assert!(!own.is_empty() || families.contains(name), "{name} is not scraped:\n{}", scrape.text);
        for (_, found) in own {
            assert_eq!(found, labels, "{name}");
        }
    }
    for family in &families {
        assert!(CONTRACT.iter().any(|(name, _)| name == family), "{family} is none of the contract's");
    }
    for (series, value) in [
        ("qcc_requests_total{profile=\"default\",client=\"-\",outcome=\"successful\"}", 2.0),
        ("qcc_requests_total{profile=\"default\",client=\"-\",outcome=\"failed\"}", 0.0),
        ("qcc_attempts_total{endpoint=\"a\",outcome=\"ok\",code=\"200\"}", 2.0),
        ("qcc_request_duration_seconds_count{endpoint=\"a\"}", 2.0),
        ("qcc_request_duration_seconds_bucket{endpoint=\"a\",le=\"+Inf\"}", 2.0),
        ("qcc_time_to_first_token_seconds_count{endpoint=\"a\"}", 1.0),
        ("qcc_usable_endpoints{profile=\"default\",protocol=\"anthropic\"}", 0.0),
        ("qcc_endpoint_standing{endpoint=\"a\",standing=\"failure\"}", 1.0),
        ("qcc_endpoint_standing{endpoint=\"a\",standing=\"primary\"}", 0.0),
        ("qcc_endpoint_isolated{endpoint=\"a\",reason=\"admin\"}", 1.0),
        ("qcc_endpoint_info{endpoint=\"a\",protocol=\"anthropic\",home=\"primary\",host=\"127.0.0.1\"}", 1.0),
        ("qcc_failure_queue_size", 1.0),
        ("qcc_isolations_total{endpoint=\"a\",reason=\"admin\"}", 1.0),
        ("qcc_isolations_total{endpoint=\"a\",reason=\"stream\"}", 0.0),
        ("qcc_verifications_total{endpoint=\"a\",result=\"passed\"}", 1.0),
        ("qcc_ratelimit_remaining{endpoint=\"a\",kind=\"requests\"}", 59.0),
        ("qcc_tokens_total{endpoint=\"a\",client=\"-\",model=\"other\",kind=\"input\"}", 41.0),
        ("qcc_config_last_reload_successful", 1.0),
        ("qcc_leaks_total", 0.0),
        (concat!("qcc_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), 1.0),
    ] {
        scrape.has(series, value);
    }
    assert!(scrape.value("qcc_endpoint_last_verification_timestamp_seconds{endpoint=\"a\"}") > 1.6e9);
    assert!(scrape.value("qcc_config_last_reload_success_timestamp_seconds") > 1.6e9);
    assert!(scrape.value("qcc_verification_tokens_total{endpoint=\"a\"}") > 0.0);
    assert!(scrape.value("qcc_cost_dollars_total{endpoint=\"a\",client=\"-\"}") > 0.0);
    app.finish().await;
}

/// Found by review: the notice of an outage kept quiet about such a protocol, and the alert on the metric never stopped.
#[actix_web::test]
async fn a_protocol_that_the_settings_have_switched_off_has_no_series_while_its_profile_has_another() {
    let a = Upstream::anthropic("a").await;
    let off = "protocol = \"openai\"\nenabled = false";
    let app = Setup::new().primary(&a).endpoint("o", &a.base_url(), off).verified_on_demand().start().await;
    let usable = |protocol: &str| format!("qcc_usable_endpoints{{profile=\"default\",protocol=\"{protocol}\"}}");
    let scrape = Scrape::of(&app).await;
    scrape.has(&usable("anthropic"), 1.0);
    assert!(!scrape.samples.contains_key(&usable("openai")), "{}", scrape.text);

    assert_eq!(app.admin("o", "enable").await.status, 200);
    Scrape::of(&app).await.has(&usable("openai"), 1.0);
    assert_eq!(app.admin("o", "isolate").await.status, 200);
    Scrape::of(&app).await.has(&usable("openai"), 0.0);
    app.finish().await;
}

#[actix_web::test]
async fn what_is_under_way_shows_as_long_as_it_is() {
    let a = Upstream::anthropic("a").await;
    a.script_traffic([hold("gate").then(ok())]);
    let app = Setup::new().primary(&a).start().await;
    let mut client = app.client().await;
    client.send_request("POST", "/v1/messages", &[TRAFFIC], body(false).as_bytes()).await;
    a.gates().reached("gate").await;
    let scrape = Scrape::of(&app).await;
    scrape.has("qcc_in_flight{endpoint=\"a\"}", 1.0);
    assert!(scrape.value("qcc_buffered_bytes") > 0.0);
    a.gates().open("gate");
    client.answer().await;
    eventually("nothing is under way", async || {
        let scrape = Scrape::of(&app).await;
        scrape.value("qcc_in_flight{endpoint=\"a\"}") + scrape.value("qcc_buffered_bytes") < 1.0
    })
    .await;
    app.finish().await;
}

#[actix_web::test]
async fn a_model_is_a_label_only_where_an_endpoint_lists_it() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    let app = Setup::new()
        .primary(&a)
        .endpoint("b", &b.base_url(), "queue = \"secondary\"\nmodels = [\"claude-opus-*\"]")
        .start()
        .await;
    for model in ["claude-opus-4-5", "made-up\\\"} 1\n# TYPE x counter\nx", "claude-opus-4-5", "another"] {
        ask(&app, &[], model).await;
    }
    let scrape = Scrape::of(&app).await;
    scrape.has("qcc_tokens_total{endpoint=\"a\",client=\"-\",model=\"claude-opus-4-5\",kind=\"output\"}", 6.0);
    scrape.has("qcc_tokens_total{endpoint=\"a\",client=\"-\",model=\"other\",kind=\"output\"}", 6.0);
    assert!(!scrape.text.contains("made-up") && !scrape.text.contains("another"), "{}", scrape.text);
    app.finish().await;
}

#[actix_web::test]
async fn counters_never_shrink_whatever_the_settings_become() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    b.script_traffic([status(500)]);
    let app = Setup::new()
        .primary(&a)
        .primary(&b)
        .section("clients.alice", "key = \"alice\"")
        .section("prices.\"*\"", "input = 1.0\noutput = 1.0")
        .start()
        .await;
    let alice = [("x-api-key", "alice")];
    for _ in 0..4 {
        ask(&app, &alice, "m").await;
    }
    app.admin("b", "isolate").await;
    app.admin("b", "verify").await;
    assert_eq!(app.stats().await["endpoint_verify_counts"], json!({ "b": 1 }));
    let before = Scrape::of(&app).await;
    let next = Setup::new().endpoint("a", &a.base_url(), "models = [\"m\"]").section("clients.bob", "key = \"bob\"");
    assert_eq!(app.reload(next).await.status, 200);
    ask(&app, &[("x-api-key", "bob")], "m").await;
    let after = Scrape::of(&app).await;
    let is_counter =
        |series: &str| ["_total", "_bucket", "_sum", "_count"].iter().any(|end| parts(series).0.ends_with(end));
    for (series, value) in before.samples.iter().filter(|(series, _)| is_counter(series)) {
        assert!(after.value(series) >= *value, "{series} was {value} and is {}", after.value(series));
    }
    after.has("qcc_tokens_total{endpoint=\"a\",client=\"bob\",model=\"m\",kind=\"output\"}", 3.0);
    let gauges = |series: &&String| series.contains("endpoint=\"b\"") && !is_counter(series);
    assert!(before.samples.keys().filter(gauges).count() > 5);
    assert_eq!(after.samples.keys().find(gauges), None, "b is gone");
    assert_eq!(app.stats().await["endpoint_verify_counts"], json!({}));
    app.finish().await;
}

/// Found by an operator: with every window used up nothing was served, and no metric told of it.
#[actix_web::test]
async fn a_used_up_window_is_scraped_while_its_endpoint_is_in_its_queue() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.script_traffic([status_and(429, &[("retry-after", "7200")])]);
    let app = Setup::new().primary(&a).secondary(&b).verified_on_demand().start().await;
    let exhausted =
        async |id: &str| Scrape::of(&app).await.value(&format!("qcc_endpoint_exhausted{{endpoint=\"{id}\"}}"));
    assert!(exhausted("a").await < 0.5);
    assert_eq!(app.message().await.header("x-qcc-endpoint"), Some("b"));
    assert_eq!(app.row("a").await["status"], "exhausted");
    assert!(exhausted("a").await > 0.5);
    assert!(exhausted("b").await < 0.5);
    assert_eq!(app.admin("a", "isolate").await.status, 200);
    assert!(exhausted("a").await < 0.5, "its status is another one");
    app.finish().await;
}

#[actix_web::test]
async fn a_reload_that_fails_is_scraped_with_the_time_of_the_last_good_one() {
    let a = Upstream::anthropic("a").await;
    let app = Setup::new().primary(&a).start().await;
    let time = "qcc_config_last_reload_success_timestamp_seconds";
    let start = Scrape::of(&app).await;
    assert_eq!(app.reload(Setup::new().primary(&a).section("breaker", "window = 1")).await.status, 422);
    let failed = Scrape::of(&app).await;
    failed.has("qcc_config_last_reload_successful", 0.0);
    assert_eq!(app.stats().await["config_last_reload_successful"], false);
    failed.has(time, start.value(time));
    assert_eq!(app.reload(Setup::new().primary(&a)).await.status, 200);
    let mended = Scrape::of(&app).await;
    mended.has("qcc_config_last_reload_successful", 1.0);
    assert_eq!(app.stats().await["config_last_reload_successful"], true);
    assert!(mended.value(time) > start.value(time));
    app.finish().await;
}

/// The names of metrics in a text, without the endings that histograms' series have.
fn names_in(text: &str) -> BTreeSet<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let prefixes = ["qcc_", "process_"];
    let words = text.split(|c| !is_word(c)).filter(|word| prefixes.iter().any(|prefix| word.starts_with(prefix)));
    let bare = |word: &str| {
        ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word).to_owned()
    };
    words.map(bare).collect()
}

#[actix_web::test]
async fn the_dashboard_and_the_alerts_use_only_metrics_that_exist() {
    let a = Upstream::anthropic("a").await;
    let app = Setup::new().primary(&a).start().await;
    let scrape = Scrape::of(&app).await;
    let families = scrape.families();
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    for file in ["prometheus/alerts.yml", "prometheus/alerts.test.yml", "grafana/dashboard.json"] {
        let text = std::fs::read_to_string(deploy.join(file)).unwrap();
        let names = names_in(&text);
        assert!(names.len() > 5, "{file} names {names:?} only");
        for name in names {
            assert!(families.contains(name.as_str()), "{file} uses {name}, which is not scraped");
        }
    }
    let dashboard = std::fs::read_to_string(deploy.join("grafana/dashboard.json")).unwrap();
    let panels = serde_json::from_str::<Value>(&dashboard).unwrap()["panels"].as_array().unwrap().len();
    assert!(panels > 10, "{panels} panels only");
    app.finish().await;
}

#[actix_web::test]
async fn the_process_is_told_of_by_the_names_that_others_have_for_it() {
    let a = Upstream::anthropic("a").await;
    let app = Setup::new().primary(&a).start().await;
    let before = Scrape::of(&app).await;
    let connections = 50.0;
    let mut open = Vec::new();
    for _ in 0..50 {
        let mut client = app.client().await;
        assert_eq!(client.get("/__qcc__/health/live", &LOCAL).await.status, 200);
        open.push(client);
    }
    let after = Scrape::of(&app).await;
    assert!(after.value("process_open_fds") >= connections, "{}", after.text);
    assert!(after.value("process_open_fds") <= after.value("process_max_fds"), "{}", after.text);
    assert!(after.value("process_resident_memory_bytes") > 1e6, "{}", after.text);
    let began = "process_start_time_seconds";
    after.has(began, before.value(began));
    let told = before.value(began);
    assert!((1.6e9..=before.value("qcc_config_last_reload_success_timestamp_seconds")).contains(&told), "{told}");
    app.finish().await;
}

#[actix_web::test]
async fn whoever_may_come_is_counted_from_zero() {
    let a = Upstream::anthropic("a").await;
    for (setup, client) in
        [(Setup::new().primary(&a), "-"), (Setup::new().primary(&a).section("clients.alice", "key = \"k\""), "alice")]
    {
        let app = setup.start().await;
        for outcome in ["successful", "failed", "cancelled", "rejected"] {
            let series =
                format!("qcc_requests_total{{profile=\"default\",client=\"{client}\",outcome=\"{outcome}\"}} 0\n");
            let text = Scrape::of(&app).await.text;
            assert!(text.contains(&series), "{series}{text}");
        }
        app.finish().await;
    }
}
