//! What outlives a restart, whether the process was asked to end, crashed, or was killed.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::support::app::{LOCAL, Setup, TRAFFIC, body, message};
use crate::support::eventually::{eventually, now};
use crate::support::process::{Process, Settings};
use crate::support::raw_client::RawClient;
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{Behaviour, error, hold, ok, sse, status, status_and};

/// One failure isolates, only an admin's word verifies, and the state is kept in this folder.
fn kept_in(folder: &Path) -> Setup {
    let file = folder.join("state.json");
    Setup::new().isolated_by_one_failure().verified_on_demand().section("state", &format!("file = {file:?}"))
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[actix_web::test]
async fn isolations_and_switches_outlive_a_restart() {
    let (a, b, c) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await, Upstream::anthropic("c").await);
    a.behave(Behaviour::always(status(500)));
    let folder = folder();
    let setup = |folder: &Path| {
        let off = "enabled = false";
        kept_in(folder).primary(&a).primary(&b).secondary(&c).endpoint("d", "http://127.0.0.1:1", off)
    };
    let path = folder.path().to_owned();
    let app = setup(&path).start_in(folder).await;
    for _ in 0..2 {
        app.message().await;
    }
    app.admin("b", "disable").await;
    app.admin("d", "enable").await;
    app.admin("d", "isolate").await;
    let before = app.row("a").await;
    let app = app.restart(setup(&path)).await;
    let after = app.row("a").await;
    for key in ["standing", "isolated_at", "isolated_reason", "last_error"] {
        assert_eq!(before[key], after[key], "{key}");
    }
    let queues = app.stats().await["queues"].clone();
    assert_eq!(queues, json!({ "primary": [], "secondary": ["c"], "failure": ["a", "d"], "disabled": ["b"] }));
    for (id, overruled) in [("a", json!(null)), ("b", json!("off")), ("c", json!(null)), ("d", json!("on"))] {
        assert_eq!(app.row(id).await["overruled"], overruled, "{id}");
    }
    for _ in 0..10 {
        assert_eq!(app.message().await.header("x-qcc-endpoint"), Some("c"));
    }
    assert_eq!(a.traffic(), 1, "that of before the restart");
    a.mend();
    assert_eq!(app.admin("a", "verify").await.json()["endpoint"]["standing"], "primary");
    let app = app.restart(setup(&path)).await;
    assert_eq!(app.row("a").await["standing"], "primary", "a recovery outlives it as well");
    app.finish().await;
}

#[actix_web::test]
async fn a_cooldown_outlives_a_restart() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.script([status_and(429, &[("retry-after", "600")])]);
    let folder = folder();
    let path = folder.path().to_owned();
    let setup = || kept_in(&path).primary(&a).secondary(&b);
    let app = setup().start_in(folder).await;
    app.message().await;
    let before = app.row("a").await["cooldowns"].clone();
    assert_eq!(before[0]["model"], "claude-haiku-4-5");
    let app = app.restart(setup()).await;
    assert_eq!(app.row("a").await["cooldowns"], before);
    assert_eq!(app.message().await.header("x-qcc-endpoint"), Some("b"));
    app.finish().await;
}

#[actix_web::test]
async fn an_endpoint_whose_key_is_refused_is_not_asked_sooner_because_of_a_restart() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.requires_key("another");
    let folder = folder();
    let path = folder.path().to_owned();
    let setup = || {
        let lines = "initial_delay = \"10ms\"\nmultiplier = 100000.0\ninterval_account = \"1h\"\njitter = 0.0";
        Setup::new()
            .isolated_by_one_failure()
            .section("verifier", lines)
            .section("state", &format!("file = {:?}", path.join("state.json")))
            .primary(&a)
            .secondary(&b)
    };
    let app = setup().start_in(folder).await;
    app.message().await;
    eventually("the first verification", async || app.row("a").await["verify_count"] == 1).await;
    let before = app.row("a").await;
    let app = app.restart(setup()).await;
    let after = app.row("a").await;
    assert_eq!((&after["next_verification"], &after["verify_count"]), (&before["next_verification"], &json!(1)));
    assert_eq!(a.verifications(), 1);
    app.finish().await;
}

#[actix_web::test]
async fn an_isolated_endpoint_that_gets_another_key_while_the_gateway_is_down_is_verified_at_once() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.requires_key("new");
    let folder = folder();
    let path = folder.path().to_owned();
    let with = |key: &str| kept_in(&path).endpoint("a", &a.base_url(), &format!("api_key = {key:?}")).secondary(&b);
    let app = with("first-key").start_in(folder).await;
    app.message().await;
    assert_eq!(app.row("a").await["standing"], "failure");
    let kept = std::fs::read_to_string(path.join("state.json")).unwrap();
    assert!(!kept.contains("first-key") && !kept.contains(&a.base_url()), "it names the service by a digest: {kept}");
    let app = app.restart(with("new")).await;
    eventually("its verification", async || app.row("a").await["standing"] == "primary").await;
    app.finish().await;
}

#[actix_web::test]
async fn what_left_isolated_comes_back_isolated_after_restarts_in_between() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.behave(Behaviour::always(status(500)));
    let folder = folder();
    let path = folder.path().to_owned();
    let both = || kept_in(&path).primary(&a).secondary(&b);
    let app = both().start_in(folder).await;
    app.message().await;
    let app = app.restart(kept_in(&path).secondary(&b)).await;
    assert_eq!(app.stats().await["total_endpoints"], 1);
    let app = app.restart(kept_in(&path).secondary(&b)).await;
    app.reload(both()).await;
    assert_eq!(app.row("a").await["standing"], "failure");
    let app = app.restart(both()).await;
    assert_eq!(app.row("a").await["standing"], "failure");
    assert_eq!(app.message().await.header("x-qcc-endpoint"), Some("b"));
    app.finish().await;
}

#[actix_web::test]
async fn of_a_damaged_file_the_last_good_copy_counts() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.behave(Behaviour::always(status(500)));
    let folder = folder();
    let path = folder.path().to_owned();
    let setup = || kept_in(&path).primary(&a).secondary(&b);
    let app = setup().start_in(folder).await;
    app.message().await;
    app.admin("b", "disable").await;
    let folder = app.finish().await;
    std::fs::write(path.join("state.json"), "damaged").unwrap();
    let app = setup().start_in(folder).await;
    assert_eq!(app.row("a").await["standing"], "failure");
    assert_eq!(app.message().await.header("x-qcc-endpoint"), Some("b"));
    assert_eq!(
        b.verification_requests().len(),
        1,
        "the copy lacks the last move, so that b may have been isolated by it"
    );
    assert_eq!(a.traffic(), 1);
    app.finish().await;
}

#[actix_web::test]
async fn with_no_good_copy_left_every_endpoint_is_verified_before_it_is_used() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.script_verifications([hold("a").then(ok())]);
    b.script_verifications([hold("b").then(ok())]);
    let folder = folder();
    let path = folder.path().to_owned();
    std::fs::write(path.join("state.json"), "damaged").unwrap();
    let app = kept_in(&path).primary(&a).secondary(&b).start_in(folder).await;
    let mut waiting = app.client().await;
    waiting.send_request("POST", "/v1/messages", &[TRAFFIC], body(false).as_bytes()).await;
    a.gates().reached("a").await;
    b.gates().reached("b").await;
    assert_eq!(app.stats().await["healthy_endpoints"], 0);
    assert_eq!((a.traffic(), b.traffic()), (0, 0));
    a.gates().open("a");
    b.gates().open("b");
    assert_eq!(waiting.answer().await.status, 200);
    assert_eq!(std::fs::read_to_string(path.join("state.json.damaged")).unwrap(), "damaged");
    app.finish().await;
}

/// The settings of a process that keeps its state beside them.
fn of_process(upstreams: &[&Upstream]) -> String {
    let mut text = String::from(
        "[server]\nport = 0\nworkers = 1\n[breaker]\nfailure_threshold = 1\n[state]\nfile = \"state.json\"\n\
         [verifier]\ninitial_delay = \"1h\"\ninterval = \"1h\"\n",
    );
    for upstream in upstreams {
        let (name, url) = (upstream.name(), upstream.base_url());
        write!(text, "[endpoints.{name}]\nbase_url = \"{url}\"\napi_key = \"k\"\n").unwrap();
    }
    text
}

async fn standing(gateway: &Process, id: &str) -> String {
    let stats = RawClient::connect(gateway.address).await.get("/__qcc__/stats", &LOCAL).await.json();
    let rows = stats["endpoints"].as_array().unwrap();
    let row = rows.iter().find(|row| row["id"] == id).unwrap();
    row["standing"].as_str().unwrap().to_owned()
}

#[actix_web::test]
async fn whoever_has_seen_an_answer_can_rely_on_the_isolation_behind_it_though_the_process_is_killed() {
    let mut folder = folder();
    for round in 0..8 {
        let upstreams = [
            Upstream::anthropic("a").await,
            Upstream::anthropic("b").await,
            Upstream::anthropic("c").await,
            Upstream::anthropic("d").await,
        ];
        let bad = [&upstreams[0], &upstreams[1], &upstreams[2]];
        for upstream in bad {
            upstream.behave(Behaviour::always(error(401, "authentication_error", "no")));
        }
        let text = of_process(&upstreams.iter().collect::<Vec<_>>());
        let gateway = Process::start(Settings::within(folder, &text)).await;
        let mut client = RawClient::connect(gateway.address).await;
        // As many requests as the round says are seen to end; then it is killed, perhaps in the middle of a write.
        for number in 0..=round % 3 {
            assert_eq!(message(&mut client, number).await.status, 200);
        }
        let seen: Vec<&str> =
            bad.iter().filter(|upstream| upstream.traffic() > 0).map(|upstream| upstream.name()).collect();
        assert!(!seen.is_empty());
        folder = gateway.killed().await;
        let again = Process::start(Settings::within(folder, &text)).await;
        for id in seen {
            assert_eq!(standing(&again, id).await, "failure", "round {round}");
        }
        folder = again.killed().await;
        // Each round begins anew, with other ports.
        std::fs::remove_file(folder.path().join("state.json")).unwrap();
    }
}

#[actix_web::test]
async fn an_admins_word_that_was_answered_outlives_a_kill() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    let text = of_process(&[&a, &b]);
    let gateway = Process::start(Settings::new(&text)).await;
    let mut client = RawClient::connect(gateway.address).await;
    for (id, act) in [("a", "disable"), ("b", "isolate")] {
        assert_eq!(client.post(&format!("/__qcc__/endpoints/{id}/{act}"), &LOCAL, "").await.status, 200);
    }
    let again = Process::start(Settings::within(gateway.killed().await, &text)).await;
    assert_eq!(standing(&again, "a").await, "disabled");
    assert_eq!(standing(&again, "b").await, "failure");
}

#[actix_web::test]
async fn a_recovery_that_an_admin_was_told_of_outlives_a_kill() {
    let a = Upstream::anthropic("a").await;
    let text = of_process(&[&a]);
    let mut gateway = Process::start(Settings::new(&text)).await;
    // A write may happen to be quicker than the kill.
    for round in 0..3 {
        let mut client = RawClient::connect(gateway.address).await;
        assert_eq!(client.post("/__qcc__/endpoints/a/isolate", &LOCAL, "").await.status, 200);
        let verdict = client.post("/__qcc__/endpoints/a/verify", &LOCAL, "").await.json();
        assert_eq!(verdict["endpoint"]["standing"], "primary", "{verdict}");
        gateway = Process::start(Settings::within(gateway.killed().await, &text)).await;
        assert_eq!(standing(&gateway, "a").await, "primary", "round {round}");
    }
}

#[actix_web::test]
async fn a_second_gateway_with_the_same_state_file_does_not_start() {
    let a = Upstream::anthropic("a").await;
    let text = of_process(&[&a]);
    let gateway = Process::start(Settings::new(&text)).await;
    let folder = gateway.folder().to_owned();
    let second = Settings::new(&text.replace("state.json", folder.join("state.json").to_str().unwrap()));
    let (code, _, said) = second.run(&[]).await;
    assert_eq!(code, 1);
    assert!(said.contains("another gateway uses this state file"), "{said}");
}

#[actix_web::test]
async fn a_state_file_that_can_not_be_written_is_told_at_the_start() {
    let a = Upstream::anthropic("a").await;
    let text = of_process(&[&a]).replace("state.json", "no-such-folder/state.json");
    let (code, _, said) = Settings::new(&text).run(&[]).await;
    assert_eq!(code, 1);
    assert!(said.contains("no-such-folder/state.json") && said.contains("state.file"), "{said}");
    assert!(said.contains("no-such-folder is missing: create the directory, writable by this user"), "{said}");
}

#[actix_web::test]
async fn a_disk_that_is_full_holds_up_no_traffic() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.behave(Behaviour::always(status(500)));
    let folder = folder();
    let path = folder.path().to_owned();
    let app = kept_in(&path).primary(&a).secondary(&b).start_in(folder).await;
    // What it would write to is no file any more.
    eventually("the first write is over", async || std::fs::create_dir(path.join("state.json.new")).is_ok()).await;
    assert_eq!(app.message().await.header("x-qcc-endpoint"), Some("b"));
    assert_eq!(app.row("a").await["standing"], "failure");
    app.finish().await;
}

/// Found by an operator: the log told of it, and no metric.
#[actix_web::test]
async fn a_state_file_that_can_not_be_written_is_told_of_until_it_can() {
    let a = Upstream::anthropic("a").await;
    let folder = folder();
    let path = folder.path().to_owned();
    let app = kept_in(&path).primary(&a).start_in(folder).await;
    let told = async || {
        let metrics = app.client().await.get("/__qcc__/metrics", &LOCAL).await.text();
        let scraped = metrics.lines().find_map(|line| line.strip_prefix("qcc_state_file_writable ")).map(str::to_owned);
        (app.stats().await["state_file_writable"].clone(), scraped.unwrap())
    };
    assert_eq!(told().await, (json!(true), "1".to_owned()));
    let in_its_place = path.join("state.json.new");
    eventually("the first write is over", async || std::fs::create_dir(&in_its_place).is_ok()).await;
    app.admin("a", "isolate").await;
    eventually("it is told", async || told().await == (json!(false), "0".to_owned())).await;
    std::fs::remove_dir(&in_its_place).unwrap();
    eventually("it is taken back", async || told().await == (json!(true), "1".to_owned())).await;
    app.finish().await;
}

#[actix_web::test]
async fn without_a_state_file_nothing_is_told_of_one() {
    let a = Upstream::anthropic("a").await;
    let app = Setup::new().primary(&a).start().await;
    let metrics = app.client().await.get("/__qcc__/metrics", &LOCAL).await.text();
    assert!(!metrics.contains("\nqcc_state_file_writable "), "{metrics}");
    assert_eq!(app.stats().await["state_file_writable"], json!(null));
    app.finish().await;
}

#[actix_web::test]
async fn a_stop_without_the_latest_moves_on_the_disk_is_an_error() {
    let a = Upstream::anthropic("a").await;
    let gateway = Process::start(Settings::new(&of_process(&[&a]))).await;
    let in_its_place = gateway.folder().join("state.json.new");
    eventually("the first write is over", async || std::fs::create_dir(&in_its_place).is_ok()).await;
    RawClient::connect(gateway.address).await.post("/__qcc__/endpoints/a/isolate", &LOCAL, "").await;
    gateway.signal("TERM").await;
    let (_, log) = gateway.ended().await;
    let last =
        log.iter().position(|line| line.contains("stopping without the latest moves in the state file, which can't"));
    assert!(log[last.unwrap()].contains(" ERROR "), "{log:?}");
}

/// The disk hangs from now on: what is written to takes nothing.
async fn hang(folder: &Path) {
    let file = folder.join("state.json.new");
    let made = async || std::process::Command::new("mkfifo").arg(&file).status().unwrap().success();
    eventually("the first write is over", async || folder.join("state.json").exists() && made().await).await;
}

/// It goes on: what was to be written is read away, so that the keeper's thread can end.
fn go_on(folder: &Path) {
    let file = folder.join("state.json.new");
    std::thread::spawn(move || drop(std::fs::read(file)));
}

#[actix_web::test]
async fn a_disk_that_hangs_keeps_nobody_from_stopping() {
    let a = Upstream::anthropic("a").await;
    let text = of_process(&[&a]).replace("workers = 1", "workers = 1\nshutdown_grace = \"1s\"");
    let mut gateway = Process::start(Settings::new(&text)).await;
    let folder = gateway.folder().to_owned();
    hang(&folder).await;
    let isolated = RawClient::connect(gateway.address).await.post("/__qcc__/endpoints/a/isolate", &LOCAL, "").await;
    assert_eq!(isolated.status, 200, "it is waited for, and not for ever");
    gateway.signal("TERM").await;
    gateway.logs("stopping").await;
    let (status, log) = gateway.ended().await;
    assert_eq!(status.code(), Some(0));
    let told = "stopping without the latest moves in the state file: its disk does not answer";
    assert!(log.iter().any(|line| line.contains(" ERROR ") && line.contains(told)), "{log:?}");
}

#[actix_web::test]
async fn a_disk_that_hangs_is_waited_for_once() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.behave(Behaviour::always(status(500)));
    let folder = folder();
    let path = folder.path().to_owned();
    let file = path.join("state.json");
    let app = Setup::new()
        .section("breaker", "failure_threshold = 100\nmin_requests = 1000")
        .verified_on_demand()
        .section("state", &format!("file = {file:?}"))
        .primary(&a)
        .secondary(&b)
        .endpoint("x", "http://127.0.0.1:1", "profiles = [\"other\"]")
        .start_in(folder)
        .await;
    hang(&path).await;
    app.admin("x", "isolate").await;
    assert_eq!(app.stats().await["state_file_writable"], false);
    let began = now();
    for _ in 0..20 {
        assert_eq!(app.message().await.status, 200);
    }
    assert!(began.elapsed() < Duration::from_secs(10), "twenty failures were each waited for: {:?}", began.elapsed());
    go_on(&path);
    app.finish().await;
}

#[actix_web::test]
async fn an_isolation_by_overload_is_waited_for_like_any_other() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.behave(Behaviour::always(error(529, "overloaded_error", "busy")));
    let folder = folder();
    let path = folder.path().to_owned();
    let overload = "cooldown = \"1ms\"\ncooldown_max = \"1ms\"\nisolate_after = \"600ms\"";
    let app = kept_in(&path).section("overload", overload).primary(&a).secondary(&b).start_in(folder).await;
    hang(&path).await;
    let took = loop {
        let began = now();
        app.message().await;
        let took = began.elapsed();
        if app.row("a").await["standing"] == "failure" {
            break took;
        }
    };
    assert!(took >= Duration::from_secs(1), "answered after {took:?}, before anything was on the disk");
    go_on(&path);
    app.finish().await;
}

/// Nothing failed without the wait, until a guard was taken out on purpose.
#[actix_web::test]
async fn a_stream_that_breaks_tells_its_end_when_the_isolation_behind_it_is_on_the_disk() {
    let a = Upstream::anthropic("a").await;
    // The doubt about its only failure has it verified at once, which is to change nothing.
    a.behave(Behaviour::always(status(500)));
    a.script_traffic([sse(3).then_cut()]);
    let folder = folder();
    let path = folder.path().to_owned();
    let app = kept_in(&path).primary(&a).start_in(folder).await;
    hang(&path).await;
    let began = now();
    let answer = app.client().await.post("/v1/messages", &[TRAFFIC], body(true)).await;
    let took = began.elapsed();
    assert_eq!((answer.status, app.row("a").await["standing"].as_str()), (200, Some("failure")));
    assert!(took >= Duration::from_secs(1), "broken off after {took:?}, before anything was on the disk");
    go_on(&path);
    app.finish().await;
}

/// Once wrong: a client that left before the verdict was in took the doubt about that failure with it.
#[actix_web::test]
async fn a_request_whose_client_leaves_while_its_isolation_is_written_is_doubted() {
    for (is_stream, failing) in [(false, status(500)), (true, sse(3).then_cut())] {
        let a = Upstream::anthropic("a").await;
        a.script_traffic([failing]);
        let folder = folder();
        let path = folder.path().to_owned();
        let app = kept_in(&path).primary(&a).start_in(folder).await;
        hang(&path).await;
        let mut client = app.client().await;
        client.send_request("POST", "/v1/messages", &[TRAFFIC], body(is_stream).as_bytes()).await;
        eventually("the isolation", async || app.row("a").await["standing"] == "failure").await;
        client.hang_up();
        // An hour before its time.
        eventually("its verification", async || app.row("a").await["standing"] == "primary").await;
        go_on(&path);
        app.finish().await;
    }
}

#[actix_web::test]
async fn an_endpoint_whose_new_key_is_refused_as_well_is_not_asked_at_each_restart() {
    let (a, b) = (Upstream::anthropic("a").await, Upstream::anthropic("b").await);
    a.requires_key("another");
    let folder = folder();
    let path = folder.path().to_owned();
    let file = path.join("state.json");
    let with = |key: &str| {
        Setup::new()
            .isolated_by_one_failure()
            .section("verifier", "initial_delay = \"1h\"\ninterval_account = \"1h\"\njitter = 0.0")
            .section("state", &format!("file = {file:?}"))
            .endpoint("a", &a.base_url(), &format!("api_key = \"{key}\""))
            .secondary(&b)
    };
    let mut app = with("one").start_in(folder).await;
    app.message().await;
    app.reload(with("two")).await;
    eventually("it is verified at once", async || app.row("a").await["verify_count"] == 1).await;
    for _ in 0..3 {
        app = app.restart(with("two")).await;
        assert_eq!(app.row("a").await["verify_count"], 1);
    }
    app.finish().await;
    assert_eq!(a.verifications(), 1);
}
