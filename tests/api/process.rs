//! The gateway as a process: what it logs, what it does at signals, and how it stops.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::AsyncReadExt;

use crate::support::app::{LOCAL, TRAFFIC, body, message};
use crate::support::eventually::within;
use crate::support::process::{Process, Settings, settings};
use crate::support::raw_client::RawClient;
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{Behaviour, hold, ok, status};

#[actix_web::test]
async fn the_log_tells_of_isolation_filter_verification_and_recovery() {
    let (bad, good) = (Upstream::anthropic("ep-bad").await, Upstream::anthropic("ep-good").await);
    bad.behave(Behaviour::always(status(500)));
    let quick = "[verifier]\ninitial_delay = \"50ms\"\ninterval = \"50ms\"\njitter = 0.0";
    let mut gateway = Process::start(settings(quick, &[&bad, &good])).await;
    let mut client = RawClient::connect(gateway.address).await;
    for number in 0..30 {
        assert_eq!(message(&mut client, number).await.status, 200);
    }
    gateway.logs("endpoint ep-bad verification 2 failed").await;
    bad.mend();
    let recovered = gateway.logs("endpoint ep-bad recovered").await;
    gateway.signal("TERM").await;
    let (status, log) = gateway.ended().await;
    assert_eq!(status.code(), Some(0));

    let with = |text: &str| -> Vec<&String> { log.iter().filter(|line| line.contains(text)).collect() };
    let isolated = with("isolated reason=");
    assert_eq!(isolated.len(), 1);
    let expected = "WARN  endpoint ep-bad isolated reason=upstream_status failures=3 last_error=\"HTTP 500 api_error\"";
    assert!(isolated[0].ends_with(expected), "{}", isolated[0]);
    assert_eq!(with("ep-bad has never passed a verification nor served a request").len(), 1);
    let filter = with("failure queue filter");
    assert_eq!(filter.len(), 1, "not once a request");
    assert!(filter[0].ends_with("INFO  failure queue filter: excluded 1 endpoint(s) profile=default"));
    assert!(!with("profile default: 2 endpoints, 1 usable, 1 in the failure queue").is_empty());
    assert!(with("verification 1 failed")[0].ends_with("error=\"HTTP 500 api_error\" next=50ms"));
    assert!(recovered.contains(" score=100 verifications=") && recovered.contains(" ms="), "{recovered}");
    let request = with("request id=req_")[0];
    assert!(request.contains(" client=- session=- method=POST path=/v1/messages model=claude-haiku-4-5 status=200 "));
    assert!(request.contains(" attempts=2 ") && request.contains(" trail=ep-bad=500@"), "{request}");
    assert!(!log.iter().any(|line| line.contains("upstream-secret")));
}

#[actix_web::test]
async fn a_log_in_json_is_one_object_a_line() {
    let upstream = Upstream::anthropic("a").await;
    let gateway = Process::start(settings("[log]\nformat = \"json\"", &[&upstream])).await;
    gateway.signal("INT").await;
    let (status, log) = gateway.ended().await;
    assert_eq!(status.code(), Some(0));
    for line in log {
        let line: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        assert!(line["at"].is_string() && line["level"].is_string() && line["message"].is_string());
    }
}

#[actix_web::test]
async fn the_log_begins_with_the_version_and_with_where_the_settings_come_from() {
    let upstream = Upstream::anthropic("a").await;
    let settings = settings("", &[&upstream]).variable("QCC__ENDPOINTS__A__API_KEY", "upstream-secret");
    let gateway = Process::start(settings.variable("QCC__LOG__LEVEL", "info")).await;
    let file = gateway.folder().join("settings.toml");
    gateway.signal("TERM").await;
    let (_, log) = gateway.ended().await;
    let told = format!(
        "INFO  qcc-gateway {}; settings, later ones win: the built-in defaults, {}, variables; variables taken: \
         QCC__ENDPOINTS__A__API_KEY, QCC__LOG__LEVEL",
        env!("CARGO_PKG_VERSION"),
        file.display()
    );
    assert!(log[0].ends_with(&told), "{log:?}");
}

#[actix_web::test]
async fn the_log_tells_at_the_start_that_nothing_outlives_the_process_where_there_is_no_state_file() {
    let upstream = Upstream::anthropic("a").await;
    for (text, times) in [("", 1), ("[state]\nfile = \"state.json\"", 0)] {
        let gateway = Process::start(settings(text, &[&upstream])).await;
        gateway.signal("TERM").await;
        let (_, log) = gateway.ended().await;
        let told: Vec<&String> =
            log.iter().filter(|line| line.contains("isolations and switches end with this process")).collect();
        assert_eq!(told.len(), times, "{log:?}");
        assert!(told.iter().all(|line| line.contains("INFO  state.file is empty")), "{told:?}");
    }
}

#[actix_web::test]
async fn at_trace_no_secret_is_logged() {
    let upstream = Upstream::anthropic("a").await;
    let quick =
        "[log]\nlevel = \"trace\"\n[verifier]\ninitial_delay = \"10ms\"\n[clients.alice]\nkey = \"client-secret\"";
    upstream.script_traffic([ok(), status(401)]);
    let mut gateway = Process::start(settings(quick, &[&upstream])).await;
    let mut client = RawClient::connect(gateway.address).await;
    for _ in 0..2 {
        client.post("/v1/messages", &[TRAFFIC, ("x-api-key", "client-secret")], body(false)).await;
    }
    gateway.logs("endpoint a recovered").await;
    gateway.signal("TERM").await;
    let (_, log) = gateway.ended().await;
    assert!(log.len() > 20, "it did log at trace");
    for line in log {
        assert!(!line.contains("client-secret") && !line.contains("upstream-secret"), "{line}");
    }
}

#[actix_web::test]
async fn a_stop_lets_an_open_request_finish_and_takes_no_new_one() {
    let upstream = Upstream::anthropic("a").await;
    upstream.script([hold("open").then(ok())]);
    let mut gateway = Process::start(settings("", &[&upstream])).await;
    let mut client = RawClient::connect(gateway.address).await;
    client.send_request("POST", "/v1/messages", &[TRAFFIC], body(false).as_bytes()).await;
    upstream.gates().reached("open").await;
    gateway.signal("TERM").await;
    gateway.logs("stopping").await;
    crate::support::eventually::eventually("no new connection", async || RawClient::is_refused(gateway.address).await)
        .await;
    upstream.gates().open("open");
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(gateway.ended().await.0.code(), Some(0));
}

#[actix_web::test]
async fn a_client_that_leaves_a_silent_endpoint_leaves_its_name_in_the_log() {
    let upstream = Upstream::anthropic("silent").await;
    upstream.behave(Behaviour::always(crate::support::upstream::step::never_answer()));
    let mut gateway = Process::start(settings("", &[&upstream])).await;
    let mut client = RawClient::connect(gateway.address).await;
    client.send_request("POST", "/v1/messages", &[TRAFFIC], body(false).as_bytes()).await;
    upstream.received(1).await;
    drop(client);
    let line = gateway.logs("status=cancelled").await;
    assert!(
        line.contains(" endpoint=silent ") && line.contains(" attempts=1 ") && line.contains("trail=silent=cancelled@"),
        "{line}"
    );
    gateway.signal("HUP").await;
    gateway.logs("settings reloaded by signal or watch: nothing has changed").await;
    gateway.signal("TERM").await;
    assert_eq!(gateway.ended().await.0.code(), Some(0), "a hang-up did not end it");
}

/// As by a pause of its container, or a move to another machine.
#[actix_web::test]
async fn a_process_that_was_held_up_looks_at_what_came_before_it_calls_an_endpoint_late() {
    let upstream = Upstream::anthropic("a").await;
    upstream.script([hold("answer").then(ok()), hold("answer").then(ok())]);
    let gateway = Process::start(settings("[timeouts]\nresponse = \"1s\"\nfirst_event = \"1s\"", &[&upstream])).await;
    let mut clients = Vec::new();
    for is_stream in [false, true] {
        let mut client = RawClient::connect(gateway.address).await;
        client.send_request("POST", "/v1/messages", &[TRAFFIC], body(is_stream).as_bytes()).await;
        clients.push(client);
    }
    upstream.received(2).await;
    gateway.signal("STOP").await;
    upstream.gates().open("answer");
    // The pause itself is what is tested.
    tokio::time::sleep(std::time::Duration::from_millis(1800)).await;
    gateway.signal("CONT").await;
    for client in &mut clients {
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.header("x-qcc-attempts")), (200, Some("1")));
    }
}

/// Once wrong: what had come meanwhile was not looked at, and the client was told that it had not sent it.
#[actix_web::test]
async fn a_process_that_was_held_up_looks_at_what_came_before_it_calls_a_client_late() {
    let upstream = Upstream::anthropic("a").await;
    let text = "header_timeout = \"1s\"\nbody_timeout = \"1s\"";
    let gateway = Process::start(settings(text, &[&upstream])).await;
    let request = body(false);
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: gateway\r\n{}: {}\r\ncontent-length: {}\r\n\r\n",
        TRAFFIC.0,
        TRAFFIC.1,
        request.len()
    );
    let whole = [head.as_bytes(), request.as_bytes()].concat();
    let mut clients = Vec::new();
    for sent in [20, head.len() + 5] {
        let mut client = RawClient::connect(gateway.address).await;
        client.send(&whole[..sent]).await;
        clients.push((client, sent));
    }
    // By the time that this is answered, so much of both has been read.
    RawClient::connect(gateway.address).await.get("/__qcc__/health/live", &[]).await;
    gateway.signal("STOP").await;
    for (client, sent) in &mut clients {
        client.send(&whole[*sent..]).await;
    }
    // The pause itself is what is tested.
    tokio::time::sleep(std::time::Duration::from_millis(1800)).await;
    gateway.signal("CONT").await;
    for (client, sent) in &mut clients {
        assert_eq!(client.answer().await.status, 200, "{sent} bytes had come before");
    }
}

/// Once wrong: who read the settings looked in vain for why they did not do what they say.
#[actix_web::test]
async fn a_reload_tells_of_an_admins_word_that_goes_before_the_settings() {
    let upstream = Upstream::anthropic("a").await;
    let mut gateway = Process::start(settings("", &[&upstream])).await;
    let mut client = RawClient::connect(gateway.address).await;
    assert_eq!(client.post("/__qcc__/endpoints/a/disable", &LOCAL, "").await.status, 200);
    gateway.signal("HUP").await;
    let line = gateway.logs("was switched off by an admin").await;
    assert!(
        line.contains("WARN") && line.contains("endpoint a ") && line.contains("the settings have it on"),
        "{line}"
    );
    assert!(line.ends_with("POST /__qcc__/endpoints/a/enable"), "{line}");
}

#[actix_web::test]
async fn a_reload_that_moves_the_gateway_only_at_its_restart_tells_who_will_look_for_it_in_vain() {
    let upstream = Upstream::anthropic("a").await;
    let mut gateway = Process::start(settings("", &[&upstream])).await;
    let file = gateway.folder().join("settings.toml");
    let text = std::fs::read_to_string(&file).unwrap().replace("port = 0", "port = 1");
    std::fs::write(&file, text).unwrap();
    gateway.signal("HUP").await;
    gateway.logs("needs a restart: server.port").await;
    let line = gateway.logs("where it is not yet").await;
    assert!(line.contains("WARN") && line.contains("`health`"), "{line}");
}

#[actix_web::test]
async fn a_second_signal_ends_it_at_once() {
    let upstream = Upstream::anthropic("a").await;
    upstream.script([hold("open").then(ok())]);
    let mut gateway = Process::start(settings("shutdown_grace = \"10m\"", &[&upstream])).await;
    let mut client = RawClient::connect(gateway.address).await;
    client.send_request("POST", "/v1/messages", &[TRAFFIC], body(false).as_bytes()).await;
    upstream.gates().reached("open").await;
    gateway.signal("TERM").await;
    gateway.logs("a second signal ends it at once").await;
    gateway.signal("TERM").await;
    assert_eq!(gateway.ended().await.0.code(), Some(1), "that was no clean stop");
}

#[actix_web::test]
async fn a_log_that_says_nothing_hides_no_failure_to_start() {
    let upstream = Upstream::anthropic("a").await;
    let taken = upstream.address().port();
    let text = format!("[server]\nport = {taken}\n[endpoints.a]\nbase_url = \"http://127.0.0.1:1\"\napi_key = \"k\"\n");
    for (filter, is_doubted) in [("off", false), ("qcc-gateway=info", true), ("info", false)] {
        let (status, _, errors) = Settings::new(&text).variable("RUST_LOG", filter).run(&[]).await;
        assert_eq!(status, 1);
        assert_eq!(errors.matches("can't listen on").count(), 1, "{filter}: {errors}");
        assert_eq!(errors.contains(&format!("RUST_LOG={filter:?}: with this")), is_doubted, "{filter}: {errors}");
    }
}

#[actix_web::test]
async fn a_mistake_in_rust_log_is_told_and_leaves_the_level_to_the_settings() {
    let upstream = Upstream::anthropic("a").await;
    let told = "variable RUST_LOG is not taken, log.level is: found \"qcc_gateway=inof\"; wanted: off, error, ";
    let with = |level: &str, filter: &str| {
        settings(&format!("[log]\nlevel = \"{level}\""), &[&upstream]).variable("RUST_LOG", filter)
    };
    let (status, output, _) = with("info", "qcc_gateway=inof").run(&["check"]).await;
    assert!(status == 0 && output.contains(told), "{output}");
    let (_, output, _) = with("info", "qcc_gateway=info").run(&["check"]).await;
    assert!(output.contains("variables taken:\n  RUST_LOG\n") && !output.contains(told), "{output}");

    let mut gateway = Process::start(with("info", "qcc_gateway=inof")).await;
    let line = gateway.logs("RUST_LOG").await;
    assert!(line.contains("WARN") && line.contains(told), "{line}");
    let file = gateway.folder().join("settings.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("level = \"info\"", "level = \"debug\"")).unwrap();
    gateway.signal("HUP").await;
    gateway.logs("log level set to \"debug\" by a reload").await;

    // Where the log is not to warn, it is told all the same.
    let text = format!(
        "[server]\nport = {}\n[log]\nlevel = \"off\"\n[endpoints.a]\nbase_url = \"http://127.0.0.1:1\"\napi_key = \"k\"\n",
        upstream.address().port()
    );
    let (status, _, errors) = Settings::new(&text).variable("RUST_LOG", "qcc_gateway=inof").run(&[]).await;
    assert!(status == 1 && errors.starts_with(told), "{errors}");
}

#[actix_web::test]
async fn standard_output_stays_empty_while_it_serves() {
    let upstream = Upstream::anthropic("a").await;
    let mut gateway = Process::start(settings("", &[&upstream])).await;
    let mut output = gateway.child.stdout.take().unwrap();
    let client = async || RawClient::connect(gateway.address).await;
    assert_eq!(message(&mut client().await, 0).await.status, 200);
    assert_eq!(client().await.get("/nowhere", &[]).await.status, 404);
    upstream.behave(Behaviour::always(status(401)));
    assert_eq!(message(&mut client().await, 1).await.status, 502);
    gateway.signal("HUP").await;
    gateway.logs("settings reloaded by signal or watch").await;
    gateway.signal("TERM").await;
    let mut printed = String::new();
    within("the end of standard output", output.read_to_string(&mut printed)).await.unwrap();
    assert_eq!(printed, "");
}

#[actix_web::test]
async fn where_others_can_reach_it_an_admin_token_is_made_and_shown_once() {
    let upstream = Upstream::anthropic("a").await;
    let open = "host = \"0.0.0.0\"\n[clients.alice]\nkey = \"k\"";
    let mut gateway = Process::start(settings(open, &[&upstream])).await;
    let link = gateway.logs("/__qcc__/#token=").await;
    let (before, token) = link.split_once("/__qcc__/#token=").unwrap();
    assert_eq!(before.trim(), format!("http://127.0.0.1:{}", gateway.address.port()));
    assert!(token.len() > 64, "{link}");
    let address = SocketAddr::from(([127, 0, 0, 1], gateway.address.port()));
    let mut client = RawClient::connect(address).await;
    let bearer = format!("Bearer {token}");
    for (headers, status) in [(vec![], 401), (vec![("authorization", bearer.as_str())], 200)] {
        assert_eq!(client.get("/__qcc__/stats", &headers).await.status, status, "{headers:?}");
    }
    gateway.signal("TERM").await;
    let (_, log) = gateway.ended().await;
    assert_eq!(log.iter().filter(|line| line.contains(token)).count(), 1, "it is shown once");
}

#[actix_web::test]
async fn the_log_level_is_set_while_it_runs() {
    let upstream = Upstream::anthropic("a").await;
    let gateway = Process::start(settings("", &[&upstream])).await;
    let set = async |level: &str| {
        let mut client = RawClient::connect(gateway.address).await;
        client.send_request("PUT", "/__qcc__/log-level", &[], level.as_bytes()).await;
        client.answer().await
    };
    for (level, found) in [
        ("loud", "\"loud\""),
        ("info,qcc_gateway=loud", "\"qcc_gateway=loud\""),
        ("", "\"\""),
        (" \n", "\"\""),
        ("h2", "\"h2\""),
    ] {
        let refused = set(level).await;
        assert_eq!(refused.status, 400, "{level}");
        let error = refused.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains(found) && error.contains("debug"), "{error}");
    }
    for level in ["warn,h2", "info,", "qcc_gateway::actors=,off", "qcc_gateway"] {
        assert_eq!(set(level).await.status, 200, "{level}: RUST_LOG takes it too");
    }
    let answer = set("warn,qcc_gateway=trace\n").await;
    assert_eq!((answer.status, answer.json()["level"].as_str()), (200, Some("warn,qcc_gateway=trace")));
    let mut client = RawClient::connect(gateway.address).await;
    assert_eq!(message(&mut client, 0).await.status, 200);
    assert_eq!(set("off").await.status, 200);
    assert_eq!(message(&mut client, 1).await.status, 200);
    gateway.signal("TERM").await;
    let (_, log) = gateway.ended().await;
    for level in ["warn,qcc_gateway=trace", "off"] {
        let told = format!("log level set to {level:?} by admin 127.0.0.1");
        assert!(log.iter().any(|line| line.contains(&told)), "{told}: {log:?}");
    }
    let requests = log.iter().filter(|line| line.contains("request id=")).count();
    assert_eq!((requests, log.iter().any(|line| line.contains("stopp"))), (1, false), "{log:?}");
}

#[actix_web::test]
async fn an_outage_is_logged_once() {
    let bad = Upstream::anthropic("ep-bad").await;
    bad.behave(Behaviour::always(status(401)));
    let gateway = Process::start(settings("[retry]\npark = \"0s\"", &[&bad])).await;
    let mut client = RawClient::connect(gateway.address).await;
    for number in 0..3 {
        assert!(message(&mut client, number).await.status >= 502);
    }
    gateway.signal("TERM").await;
    let (_, log) = gateway.ended().await;
    let told: Vec<&String> = log.iter().filter(|line| line.contains("ERROR")).collect();
    let outage = "profile default: no endpoint is usable, 1 in the failure queue and 0 disabled protocol=anthropic";
    assert!(told.len() == 1 && told[0].ends_with(outage), "{log:?}");
}

#[actix_web::test]
async fn a_settings_file_that_never_ends_holds_up_no_signal() {
    let a = Upstream::anthropic("a").await;
    let mut gateway = Process::start(settings("shutdown_grace = \"1s\"\n[reload]\nwatch = \"10ms\"", &[&a])).await;
    let file = gateway.folder().join("settings.toml");
    std::fs::remove_file(&file).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
    gateway.signal("HUP").await;
    assert_eq!(message(&mut RawClient::connect(gateway.address).await, 0).await.status, 200);
    gateway.signal("TERM").await;
    gateway.logs("stopping").await;
    assert_eq!(gateway.ended().await.0.code(), Some(0));
}

#[actix_web::test]
async fn connections_end_with_their_next_answer_before_the_gateway_stops_listening() {
    let a = Upstream::anthropic("a").await;
    let mut gateway = Process::start(settings("shutdown_delay = \"2s\"", &[&a])).await;
    let mut client = RawClient::connect(gateway.address).await;
    assert_eq!(message(&mut client, 0).await.header("connection"), None);
    gateway.signal("TERM").await;
    gateway.logs("stopping").await;
    let last = message(&mut client, 1).await;
    assert_eq!((last.status, last.header("connection")), (200, Some("close")));
    assert!(!client.is_reusable());
    assert_eq!(message(&mut RawClient::connect(gateway.address).await, 2).await.status, 200, "all else goes on");
    assert_eq!(gateway.ended().await.0.code(), Some(0));
}

#[actix_web::test]
async fn a_reload_is_done_also_while_the_gateway_still_listens_before_it_stops() {
    let a = Upstream::anthropic("a").await;
    let mut gateway = Process::start(settings("shutdown_delay = \"2s\"", &[&a])).await;
    gateway.signal("TERM").await;
    gateway.logs("stopping").await;
    gateway.signal("HUP").await;
    gateway.logs("settings reloaded by signal or watch").await;
    assert_eq!(gateway.ended().await.0.code(), Some(0));
}
