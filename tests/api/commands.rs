//! What the commands print, and with which status they end.

use std::fmt::Write;
use std::process::Stdio;

use crate::support::app::{TRAFFIC, body};
use crate::support::eventually::within;
use crate::support::process::{Process, Settings, settings};
use crate::support::raw_client::RawClient;
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{Behaviour, status, status_with};

#[actix_web::test]
async fn bad_settings_end_with_status_two_and_every_fault() {
    let bad = Settings::new("[server]\nport = \"x\"\nprot = 1\n[endpoints.A]\nbase_url = \"ftp://user:hunter2@h\"\n");
    for command in [&["health"][..], &["status"], &["top"]] {
        let (status, _, errors) = bad.run(command).await;
        assert_eq!((status, errors.contains("server.port")), (2, true), "{command:?} {errors}");
        assert!(!errors.contains("hunter2"));
    }
    for command in [&["serve"][..], &["check"], &["check", "--live"]] {
        let (status, _, errors) = bad.run(command).await;
        assert_eq!(status, 2, "{command:?}");
        assert!(
            errors.contains("server.port") && errors.contains("server.prot") && errors.contains("settings.toml"),
            "{errors}"
        );
        assert!(!errors.contains("hunter2"));
    }
    let (status, _, errors) = Settings::new("").run(&["serve"]).await;
    assert_eq!(status, 2);
    assert!(errors.contains("demo"), "{errors}");
    assert_eq!(bad.run(&["--nonsense"]).await.0, 2);
}

#[actix_web::test]
async fn an_address_in_use_ends_with_status_one() {
    let upstream = Upstream::anthropic("a").await;
    let taken = upstream.address().port();
    let text = format!("[server]\nport = {taken}\n[endpoints.a]\nbase_url = \"http://127.0.0.1:1\"\napi_key = \"k\"\n");
    let (status, _, errors) = Settings::new(&text).run(&[]).await;
    assert_eq!(status, 1);
    assert!(errors.contains(&format!("can't listen on 127.0.0.1:{taken}")), "{errors}");
}

#[actix_web::test]
async fn check_prints_what_would_run_without_a_secret() {
    let (status, output, _) = settings("", &[&Upstream::anthropic("main").await]).run(&["check"]).await;
    assert_eq!(status, 0);
    assert!(output.contains("main") && output.contains("primary"), "{output}");
    assert!(!output.contains("upstream-secret"));
}

#[actix_web::test]
async fn health_asks_the_running_gateway() {
    let upstream = Upstream::anthropic("a").await;
    let gateway = Process::start(settings("", &[&upstream])).await;
    let port = gateway.address.port();
    let same = Settings::new(&format!(
        "[server]\nport = {port}\n[endpoints.a]\nbase_url = \"http://127.0.0.1:1\"\napi_key = \"k\"\n"
    ));
    let (status, output, _) = same.run(&["health"]).await;
    assert_eq!((status, output.contains("\"ready\"")), (0, true), "{output}");
    gateway.signal("TERM").await;
    gateway.ended().await;
    let (status, _, errors) = same.run(&["health"]).await;
    assert_eq!((status, errors.contains("no answer from")), (1, true), "{errors}");
}

/// Else a container would be restarted for a typing mistake that its gateway has refused, and not come up again.
#[actix_web::test]
async fn health_is_that_of_the_gateway_and_not_of_its_settings() {
    let upstream = Upstream::anthropic("a").await;
    let gateway = Process::start(settings("", &[&upstream])).await;
    let port = gateway.address.port();
    let faulty = [
        Settings::new(&format!("[server]\nport = {port}\nprot = 1\n[endpoints.a]\napi_key_env = \"UNSET\"\n")),
        Settings::new("[endpoints").variable("QCC__SERVER__PORT", &port.to_string()),
    ];
    for settings in &faulty {
        let (status, output, errors) = settings.run(&["health"]).await;
        assert_eq!((status, output.contains("\"ready\"")), (0, true), "{errors}");
    }
    gateway.signal("TERM").await;
    gateway.ended().await;
    for (settings, expected, told) in [(&faulty[0], 1, "no answer from"), (&faulty[1], 2, "settings.toml line 1")] {
        let (status, _, errors) = settings.run(&["health"]).await;
        assert_eq!((status, errors.contains(told)), (expected, true), "{errors}");
    }
}

#[actix_web::test]
async fn who_reads_no_further_is_no_failure_and_a_full_disk_is_one() {
    let settings = settings("", &[&Upstream::anthropic("a").await]);
    for command in [&["check"][..], &["key", "new", "alice"]] {
        let run = async |output: Stdio| {
            let child = settings.command(command).stdout(output).spawn().unwrap();
            let ended = within("the command ends", child.wait_with_output()).await.unwrap();
            (ended.status.code(), String::from_utf8(ended.stderr).unwrap())
        };
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        assert_eq!(run(writer.into()).await, (Some(0), String::new()), "{command:?}");
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let (status, told) = run(full.into()).await;
        assert_eq!((status, told.starts_with("can't write: ")), (Some(1), true), "{command:?} {told}");
    }
}

/// They are read again and again, by a watch and by health checks: the time must not grow with their square.
#[actix_web::test]
async fn ten_thousand_clients_are_soon_read() {
    let mut clients = String::new();
    for number in 0..10_000 {
        writeln!(clients, "[clients.c{number}]\nkeys_sha256 = [\"{number:064x}\"]").unwrap();
    }
    let (status, output, errors) = settings(&clients, &[&Upstream::anthropic("a").await]).run(&["check"]).await;
    assert_eq!((status, output.contains("c9999")), (0, true), "{errors}");
}

#[actix_web::test]
async fn check_live_verifies_each_endpoint_and_tells_the_next_step() {
    let (good, bad) = (Upstream::anthropic("good").await, Upstream::anthropic("bad").await);
    bad.behave(Behaviour::always(status(401)));
    let (code, output, _) = settings("", &[&good, &bad]).run(&["check", "--live"]).await;
    assert_eq!(code, 1);
    assert!(output.contains("good  passed ms=") && output.contains("score=100"), "{output}");
    assert!(
        output.contains("bad  FAILED") && output.contains("HTTP 401") && output.contains("next: set the right key"),
        "{output}"
    );
    assert_eq!((good.verifications(), bad.verifications(), good.traffic()), (1, 1, 0));
    let (code, output, _) = settings("", &[&good]).run(&["check", "--live"]).await;
    assert_eq!(code, 0, "{output}");
}

#[actix_web::test]
async fn check_warns_of_what_would_not_do_what_it_seems_to_and_still_passes() {
    let upstream = Upstream::anthropic("a").await;
    let long_ago =
        "[clients.old]\nkey = \"k\"\nexpires = \"2001-01-01T00:00:00Z\"\n[state]\nfile = \"nowhere/state.json\"";
    let (code, output, errors) = settings(long_ago, &[&upstream]).run(&["check"]).await;
    assert_eq!((code, errors.as_str()), (0, ""));
    let (_, warnings) = output.split_once("\nwarnings:\n").unwrap();
    assert!(warnings.contains("  clients.old.expires was 2001-01-01T00:00:00Z"), "{output}");
    assert!(
        warnings.contains("  state.file can't be written")
            && warnings.contains("nowhere is missing: create the directory, writable by this user"),
        "{output}"
    );
    assert!(!warnings.contains("switched off"), "{output}");
    let off = "[endpoints.a]\nbase_url = \"http://a\"\napi_key = \"k\"\nenabled = false";
    let (code, output, _) = settings(off, &[]).run(&["check"]).await;
    assert!(code == 0 && output.contains("warnings:\n  endpoints are all switched off"), "{output}");
    let kept = settings("[state]\nfile = \"state.json\"", &[&upstream]);
    let (code, output, _) = kept.run(&["check"]).await;
    assert_eq!((code, output.contains("warnings:")), (0, false), "{output}");
    assert_eq!(std::fs::read_dir(kept.folder()).unwrap().count(), 1, "nothing but the settings is there");
    let mut gateway =
        Process::start(settings("[clients.old]\nkey = \"k\"\nexpires = \"2001-01-01T00:00:00Z\"", &[&upstream])).await;
    gateway.signal("TERM").await;
    assert!(gateway.logs("clients.old.expires was").await.contains("WARN"));
}

#[actix_web::test]
async fn check_live_goes_by_what_an_error_means() {
    let (poor, own) = (Upstream::anthropic("poor").await, Upstream::anthropic("own").await);
    let quota = r#"{"error":{"message":"m","type":"insufficient_quota","code":"insufficient_quota"}}"#;
    poor.behave(Behaviour::always(status_with(429, &[("content-type", "application/json")], quota)));
    own.behave(Behaviour::always(status(401)));
    let passing = format!(
        "[endpoints.own]\nbase_url = {:?}\nauth = \"passthrough\"\n[endpoints.gone]\nbase_url = \"http://127.0.0.1:1\"\n\
         api_key = \"k\"\n",
        own.base_url()
    );
    let (code, output, _) = settings(&passing, &[&poor]).run(&["check", "--live"]).await;
    assert_eq!(code, 1);
    let next = |id: &str| {
        let verdict = output.split_once(&format!("\n  {id}  FAILED")).map(|(_, rest)| rest.lines().nth(1));
        verdict.flatten().unwrap_or_else(|| panic!("no {id} in {output}"))
    };
    assert!(next("poor").contains("next: top up the account"), "{output}");
    assert!(next("own").contains("next: set a key for verifications in verify_headers"), "{output}");
    assert!(next("gone").contains("host and port"), "{output}");
}

#[actix_web::test]
async fn a_fresh_key_works_with_the_settings_lines_that_come_with_it() {
    let upstream = Upstream::anthropic("a").await;
    let (status, output, errors) = settings("", &[&upstream]).run(&["key", "new", "alice"]).await;
    assert_eq!((status, errors.as_str()), (0, ""));
    let key = output.lines().find(|line| line.starts_with("qcc_")).unwrap();
    let (_, lines) = output.split_once("[clients.alice]").unwrap();
    assert!(!lines.contains(key), "{lines}");
    let mut gateway = Process::start(settings(&format!("[clients.alice]{lines}"), &[&upstream])).await;
    let mut client = RawClient::connect(gateway.address).await;
    assert_eq!(client.post("/v1/messages", &[TRAFFIC, ("x-api-key", key)], body(false)).await.status, 200);
    let line = gateway.logs("request id=").await;
    assert!(line.contains("client=alice"), "{line}");
    let (_, again, _) = settings("", &[&upstream]).run(&["key", "new", "alice"]).await;
    assert!(!again.contains(key), "no key twice");
    assert_eq!(settings("", &[]).run(&["key", "new", "Not an id"]).await.0, 2);
}
