//! Settings that are read anew while the gateway runs.

use serde_json::{Value, json};

use crate::support::app::{LOCAL, Setup, TRAFFIC, TestApp, body, message};
use crate::support::eventually::eventually;
use crate::support::load;
use crate::support::raw_client::{Answer, RawClient};
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{Behaviour, hold, ok, status, status_and};

/// What every test here begins with: one failure isolates, and only an admin's word verifies.
fn setup() -> Setup {
    Setup::new().isolated_by_one_failure().verified_on_demand()
}

async fn with_key(app: &TestApp, key: &str) -> Answer {
    app.client().await.post("/v1/messages", &[TRAFFIC, ("x-api-key", key)], body(false)).await
}

/// The details of all reloads that were told of.
async fn reloads(app: &TestApp) -> Vec<String> {
    let events = app.events().await;
    let told = events.iter().filter(|event| event["kind"] == "reload");
    told.map(|event| event["detail"].as_str().unwrap().to_owned()).collect()
}

#[actix_web::test]
async fn a_reload_takes_over_and_answers_what_has_changed() {
    let (a, b, c) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await, Upstream::anthropic("c").await);
    let app = setup().primary(&a).primary(&b).section("clients.alice", "key = \"alice\"").start().await;
    let next = Setup::new()
        .section("breaker", "failure_threshold = 1\nwindow = \"90s\"")
        .verified_on_demand()
        .endpoint("a", &a.base_url(), "queue = \"secondary\"")
        .primary(&c)
        .section("clients.alice", "key = \"alice\"\nmax_in_flight = 3")
        .section("clients.bob", "key = \"bob\"");
    let answer = app.reload(next).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        answer.json(),
        json!({
            "added": ["c"], "changed": ["a"], "removed": ["b"],
            "clients": { "added": ["bob"], "changed": ["alice"], "removed": [] },
            "settings": ["breaker.window"], "needs_restart": [],
        })
    );
    for key in ["alice", "bob"] {
        assert_eq!(with_key(&app, key).await.header("x-qcc-endpoint"), Some("c"), "{key}");
    }
    assert_eq!((a.total(), b.total()), (0, 0));
    let stats = app.stats().await;
    assert_eq!(stats["queues"], json!({ "primary": ["c"], "secondary": ["a"], "failure": [], "disabled": [] }));
    let told = reloads(&app).await;
    assert_eq!(
        told,
        [
            "endpoints added: c; endpoints changed: a; endpoints removed: b; clients added: bob; clients changed: alice; \
          settings: breaker.window"
        ]
    );
    let events = app.events().await;
    assert!(
        events.iter().filter(|event| event["endpoint"].is_string()).all(|event| event["epoch"].is_u64()),
        "{events:?}"
    );
    let last = events.last().unwrap();
    assert_eq!((&last["kind"], &last["by"]), (&json!("reload"), &json!("admin 127.0.0.1")));
    app.finish().await;
}

#[actix_web::test]
async fn a_faulty_file_changes_nothing_and_every_fault_is_told() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    let app = setup().primary(&a).start().await;
    let faulty = setup().primary(&b).section("retry", "max_attempts = \"many\"\nno_such_key = 1");
    let answer = app.reload(faulty).await;
    assert_eq!(answer.status, 422);
    let faults = answer.json()["faults"].as_array().unwrap().clone();
    let keys: Vec<&str> = faults.iter().map(|fault| fault["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["retry.max_attempts", "retry.no_such_key"]);
    assert!(faults.iter().all(|fault| !fault["wanted"].as_str().unwrap().is_empty()));
    assert_eq!(app.message().await.header("x-qcc-endpoint"), Some("a"), "it serves as before");
    assert_eq!(b.total(), 0);
    assert_eq!(reloads(&app).await, ["failed: 2 faults in the settings"]);
    app.finish().await;
}

#[actix_web::test]
async fn what_needs_a_restart_is_named_each_time_and_everything_else_is_taken_over() {
    let a = Upstream::anthropic("a").await;
    let app = setup().primary(&a).start().await;
    for _ in 0..2 {
        let next = Setup::only()
            .section("server", "host = \"127.0.0.1\"\nport = 1\nworkers = 1\ntrail_headers = false")
            .isolated_by_one_failure()
            .verified_on_demand()
            .primary(&a);
        let answer = app.reload(next).await.json();
        assert_eq!(answer["needs_restart"], json!(["server.port", "server.workers"]));
    }
    assert_eq!(app.message().await.header("x-qcc-endpoint"), None, "trail_headers is taken over");
    app.finish().await;
}

#[actix_web::test]
async fn a_request_under_way_keeps_the_settings_that_it_came_with() {
    let a = Upstream::anthropic("a").await;
    a.script([hold("answer").then(ok())]);
    let app = setup().primary(&a).section("clients.alice", "key = \"old\"").start().await;
    let mut waiting = app.client().await;
    waiting.send_request("POST", "/v1/messages", &[TRAFFIC, ("x-api-key", "old")], body(false).as_bytes()).await;
    a.gates().reached("answer").await;
    let next = Setup::only()
        .section("server", "host = \"127.0.0.1\"\nport = 0\nworkers = 2\ntrail_headers = false")
        .isolated_by_one_failure()
        .verified_on_demand()
        .primary(&a)
        .section("clients.alice", "key = \"new\"");
    assert_eq!(app.reload(next).await.json()["settings"], json!(["server.trail_headers"]));
    a.gates().open("answer");
    let answer = waiting.answer().await;
    assert_eq!((answer.status, answer.header("x-qcc-endpoint")), (200, Some("a")));
    assert_eq!(with_key(&app, "old").await.status, 401);
    let answer = with_key(&app, "new").await;
    assert_eq!((answer.status, answer.header("x-qcc-endpoint")), (200, None));
    app.finish().await;
}

#[actix_web::test]
async fn an_isolated_endpoint_stays_isolated_whatever_else_is_reloaded() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.behave(Behaviour::always(status(500)));
    let app = setup().primary(&a).secondary(&b).start().await;
    app.message().await;
    let isolated = app.row("a").await;
    assert_eq!(isolated["standing"], "failure");
    let renamed = |lines: &str| setup().endpoint("a", &a.base_url(), lines).secondary(&b);
    for lines in ["weight = 7", "queue = \"secondary\"", "priority = 3\nmodels = [\"claude-*\"]"] {
        assert_eq!(app.reload(renamed(lines)).await.json()["changed"], json!(["a"]), "{lines}");
        assert_eq!(app.row("a").await["standing"], "failure", "{lines}");
        assert_eq!(app.message().await.header("x-qcc-endpoint"), Some("b"), "{lines}");
    }
    assert_eq!(app.row("a").await["isolated_at"], isolated["isolated_at"]);
    assert_eq!(a.traffic(), 1);
    app.finish().await;
}

#[actix_web::test]
async fn an_isolated_endpoint_with_another_key_is_verified_at_once() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.requires_key("new");
    let old = setup().endpoint("a", &a.base_url(), "api_key = \"old\"").secondary(&b);
    let app = old.start().await;
    app.message().await;
    let isolated = app.row("a").await;
    assert_eq!((&isolated["standing"], &isolated["isolated_reason"]), (&json!("failure"), &json!("credential")));
    let next = setup().endpoint("a", &a.base_url(), "api_key = \"new\"").secondary(&b);
    assert_eq!(app.reload(next).await.json()["changed"], json!(["a"]));
    eventually("the verification with the new key", async || app.row("a").await["standing"] == "primary").await;
    assert_eq!(app.message().await.header("x-qcc-endpoint"), Some("a"));
    app.finish().await;
}

#[actix_web::test]
async fn an_endpoint_that_left_isolated_comes_back_isolated() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.behave(Behaviour::always(status(500)));
    let both = || setup().primary(&a).secondary(&b);
    let app = both().start().await;
    app.message().await;
    assert_eq!(app.reload(setup().secondary(&b)).await.json()["removed"], json!(["a"]));
    assert_eq!(app.reload(both()).await.json()["added"], json!(["a"]));
    assert_eq!(app.row("a").await["standing"], "failure");
    assert_eq!(app.message().await.header("x-qcc-endpoint"), Some("b"));
    app.finish().await;
}

#[actix_web::test]
async fn an_admins_disable_outlives_reloads() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    let app = setup().primary(&a).secondary(&b).start().await;
    app.admin("a", "disable").await;
    for weight in [1, 2] {
        let next = setup().endpoint("a", &a.base_url(), &format!("weight = {weight}")).secondary(&b);
        app.reload(next).await;
        assert_eq!(app.row("a").await["standing"], "disabled");
        assert_eq!(app.message().await.header("x-qcc-endpoint"), Some("b"));
    }
    app.finish().await;
}

#[actix_web::test]
async fn the_breakers_judge_by_the_new_threshold() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.behave(Behaviour::always(status(500)));
    let with = |threshold: u32| {
        let lines = format!("failure_threshold = {threshold}");
        Setup::new().section("breaker", &lines).verified_on_demand().primary(&a).secondary(&b)
    };
    let app = with(5).start().await;
    app.message().await;
    assert_eq!(app.row("a").await["standing"], "primary");
    app.reload(with(2)).await;
    app.message().await;
    assert_eq!(app.row("a").await["standing"], "failure", "the failure before the reload counts");
    app.finish().await;
}

#[actix_web::test]
async fn the_verifier_goes_by_the_new_delays_also_for_who_is_isolated_already() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.script([status(500)]);
    let app = setup().primary(&a).secondary(&b).start().await;
    app.message().await;
    assert_eq!(app.row("a").await["standing"], "failure");
    app.reload(Setup::new().isolated_by_one_failure().verified_every(10).primary(&a).secondary(&b)).await;
    eventually("the verification", async || app.row("a").await["standing"] == "primary").await;
    app.finish().await;
}

#[actix_web::test]
async fn an_admin_token_is_replaced() {
    let a = Upstream::anthropic("a").await;
    let with = |token: &str| setup().primary(&a).section("admin", &format!("token = \"{token}\""));
    let app = with("old-token").start().await;
    let ask = async |token: &str| {
        let bearer = format!("Bearer {token}");
        app.client().await.get("/__qcc__/stats", &[("authorization", bearer.as_str())]).await.status
    };
    app.rewrite(with("new-token"));
    let reloaded = app.client().await.post("/__qcc__/reload", &[("authorization", "Bearer old-token")], "").await;
    assert_eq!(reloaded.json()["settings"], json!(["admin.token"]), "another value of the same form");
    assert_eq!((ask("old-token").await, ask("new-token").await), (401, 200));
    app.finish().await;
}

#[actix_web::test]
async fn a_key_file_is_read_again() {
    let a = Upstream::anthropic("a").await;
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, "first\n").unwrap();
    let setup = || setup().endpoint("a", &a.base_url(), &format!("api_key_file = {key:?}"));
    let app = setup().start_in(folder).await;
    app.message().await;
    std::fs::write(app.folder().join("key"), "second\n").unwrap();
    assert_eq!(app.reload(setup()).await.json()["changed"], json!(["a"]));
    app.message().await;
    assert_eq!(a.requests().iter().map(|request| request.keys()).collect::<Vec<_>>(), [["first"], ["second"]]);
    app.finish().await;
}

#[actix_web::test]
async fn what_was_seen_with_an_old_key_is_not_told_of_the_new_one() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    let told = [("x-ratelimit-remaining-tokens", "0"), ("anthropic-ratelimit-unified-5h-utilization", "0.99")];
    a.script_traffic([status_and(500, &told)]);
    let with = |lines: &str| Setup::new().verified_on_demand().endpoint("a", &a.base_url(), lines).secondary(&b);
    let app = with("api_key = \"old\"").start().await;
    app.message().await;
    assert_eq!(app.admin("a", "verify").await.status, 200);
    let scraped = async || app.client().await.get("/__qcc__/metrics", &LOCAL).await.text();
    let gauges = ["qcc_ratelimit_remaining{endpoint=\"a\"", "qcc_endpoint_last_verification_timestamp_seconds{"];
    for (lines, is_the_same) in [("api_key = \"old\"\nweight = 7", true), ("api_key = \"new\"", false)] {
        app.reload(with(lines)).await;
        let row = app.row("a").await;
        assert_eq!(row["rate_limits"] != json!({}), is_the_same, "{lines}: {row}");
        assert_eq!(row["windows"] != json!({}), is_the_same, "{lines}: {row}");
        assert_eq!(row["last_error"].is_string(), is_the_same, "{lines}: {row}");
        assert_eq!(row["last_verification"].is_object(), is_the_same, "{lines}: {row}");
        assert_eq!(row["requests"], 1, "what is counted goes on");
        let text = scraped().await;
        assert!(gauges.iter().all(|gauge| text.contains(gauge) == is_the_same), "{lines}: {text}");
    }
    app.finish().await;
}

#[actix_web::test]
async fn the_watch_takes_changed_files_over_and_tells_of_a_faulty_one_once() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    let watching = || setup().section("reload", "watch = \"10ms\"");
    let app = watching().primary(&a).start().await;
    app.rewrite(watching().primary(&b).section("retry", "park = \"soon\""));
    eventually("the fault is told", async || reloads(&app).await.len() == 1).await;
    assert_eq!(app.message().await.header("x-qcc-endpoint"), Some("a"));
    app.rewrite(watching().primary(&b));
    eventually("the change is taken over", async || reloads(&app).await.len() == 2).await;
    assert_eq!(app.message().await.header("x-qcc-endpoint"), Some("b"));
    assert_eq!(
        reloads(&app).await,
        ["failed: 1 fault in the settings", "endpoints added: b; endpoints removed: a"],
        "the same fault was seen many times, and told once"
    );
    app.finish().await;
}

#[actix_web::test]
async fn only_an_admin_reloads() {
    let a = Upstream::anthropic("a").await;
    let app = setup().primary(&a).section("admin", "token = \"t\"\nread_token = \"r\"").start().await;
    for (headers, code) in [(vec![], 401), (vec![("authorization", "Bearer r")], 403)] {
        let answer = app.client().await.post("/__qcc__/reload", &headers, "").await;
        assert_eq!(answer.status, code, "{headers:?}");
    }
    assert_eq!(app.client().await.get("/__qcc__/reload", &LOCAL).await.status, 405);
    app.finish().await;
}

#[actix_web::test]
async fn reloads_in_a_storm_of_requests_fail_none() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.behave(Behaviour::always(ok()));
    let app = setup().primary(&a).primary(&b).start().await;
    let traffic = async {
        let mut client = app.client().await;
        for number in 0..300 {
            assert_eq!(message(&mut client, number).await.status, 200);
        }
    };
    let reloads = async {
        for round in 0..30 {
            let next = setup().endpoint("a", &a.base_url(), &format!("weight = {}", 1 + round));
            let next = if round % 2 == 0 { next } else { next.primary(&b) };
            assert_eq!(app.reload(next).await.status, 200);
        }
    };
    tokio::join!(traffic, reloads);
    app.finish().await;
}

#[actix_web::test]
async fn a_clients_key_is_never_passed_through_by_a_reload() {
    let a = Upstream::anthropic("a").await;
    a.script([hold("first").then(ok())]);
    let old = setup().endpoint("a", &a.base_url(), "max_in_flight = 1").section("clients.alice", "key = \"alice-key\"");
    let app = old.start().await;
    let headers = [TRAFFIC, ("x-api-key", "alice-key")];
    let (mut first, mut second) = (app.client().await, app.client().await);
    first.send_request("POST", "/v1/messages", &headers, body(false).as_bytes()).await;
    a.gates().reached("first").await;
    second.send_request("POST", "/v1/messages", &headers, body(false).as_bytes()).await;
    eventually("it is parked", async || app.stats().await["parked"] == 1).await;
    let answer = app.reload(setup().endpoint("a", &a.base_url(), "auth = \"passthrough\"")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    second.answer().await;
    a.gates().open("first");
    first.answer().await;
    assert!(a.requests().iter().all(|request| !request.keys().contains(&"alice-key")));
    app.finish().await;
}

/// One endpoint with room for one request, in a profile with one client.
fn with_room_for_one(a: &Upstream, profile: &str, client: &str) -> Setup {
    setup()
        .endpoint("a", &a.base_url(), &format!("max_in_flight = 1\nprofiles = [\"{profile}\"]"))
        .section(&format!("clients.{client}"), &format!("key = \"{client}-key\"\nprofile = \"{profile}\""))
}

/// Alice has a request under way at the only endpoint, which holds it until `first` is opened, and another one that is parked.
async fn one_under_way_and_one_parked(a: &Upstream, app: &TestApp) -> [RawClient; 2] {
    a.script([hold("first").then(ok())]);
    let headers = [TRAFFIC, ("x-api-key", "alice-key")];
    let (mut first, mut second) = (app.client().await, app.client().await);
    first.send_request("POST", "/v1/messages", &headers, body(false).as_bytes()).await;
    a.gates().reached("first").await;
    second.send_request("POST", "/v1/messages", &headers, body(false).as_bytes()).await;
    eventually("it is parked", async || app.stats().await["parked"] == 1).await;
    [first, second]
}

#[actix_web::test]
async fn a_parked_request_whose_client_and_profile_go_is_not_told_that_its_path_is_wrong() {
    let a = Upstream::anthropic("a").await;
    let app = with_room_for_one(&a, "one", "alice").start().await;
    let [mut first, mut second] = one_under_way_and_one_parked(&a, &app).await;
    app.reload(with_room_for_one(&a, "two", "bob")).await;
    let answer = second.answer().await;
    a.gates().open("first");
    first.answer().await;
    app.finish().await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{}", answer.text());
}

#[actix_web::test]
async fn a_parked_request_is_served_whatever_its_clients_profile_is_called_by_then() {
    let a = Upstream::anthropic("a").await;
    let app = with_room_for_one(&a, "one", "alice").start().await;
    let [mut first, mut second] = one_under_way_and_one_parked(&a, &app).await;
    app.reload(with_room_for_one(&a, "two", "alice")).await;
    a.gates().open("first");
    let answers = [first.answer().await, second.answer().await];
    app.finish().await;
    assert_eq!(answers.map(|answer| answer.status), [200, 200]);
}

/// The endpoints are there before what new requests are read by, and what waits or fails meanwhile is of before.
#[actix_web::test]
async fn no_request_is_refused_while_a_profile_is_renamed() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    let with = |profile: &str| {
        let own = format!("profiles = [\"{profile}\"]");
        setup()
            .endpoint("a", &a.base_url(), &own)
            .endpoint("b", &b.base_url(), &own)
            .section("clients.alice", &format!("key = \"alice-key\"\nprofile = \"{profile}\""))
    };
    let app = with("p0").start().await;
    let headers = [TRAFFIC, ("x-api-key", "alice-key")];
    let renaming = async {
        for number in 1..=20 {
            app.reload(with(&format!("p{number}"))).await;
        }
    };
    let traffic = load::run(app.address(), 600, 8, async |_, client: &mut RawClient| {
        client.send_request("POST", "/v1/messages", &headers, body(false).as_bytes()).await;
        Ok(client.answer().await)
    });
    let ((), done) = tokio::join!(renaming, traffic);
    app.finish().await;
    assert_eq!(done.statuses().into_iter().collect::<Vec<_>>(), [(200, 600)]);
}

#[actix_web::test]
async fn verify_count_counts_since_the_isolation_whatever_is_reloaded() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.behave(Behaviour::always(status(500)));
    let app = setup().primary(&a).secondary(&b).start().await;
    app.message().await;
    app.admin("a", "verify").await;
    let before = app.row("a").await;
    app.reload(setup().endpoint("a", &a.base_url(), "queue = \"secondary\"").secondary(&b)).await;
    let after = app.row("a").await;
    let of = |row: &Value| [row["isolated_at"].clone(), row["verify_count"].clone()];
    assert_eq!(of(&before), of(&after));
    app.finish().await;
}
