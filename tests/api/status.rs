//! `status` and `top`: what they show of a running gateway, on a terminal and in a pipe, and how they fail.

use std::fs::File;
use std::io::Read;
use std::process::Stdio;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use tokio::sync::mpsc;

use crate::support::app::message;
use crate::support::eventually::{eventually, within};
use crate::support::process::{Process, Settings, settings};
use crate::support::raw_client::RawClient;
use crate::support::upstream::Upstream;
use crate::support::upstream::step::{Behaviour, status, status_with};

/// Settings by which a gateway that runs already is reached: without any of its keys.
fn reaching(gateway: &Process, more: &str) -> Settings {
    Settings::new(&format!("[server]\nport = {}\n{more}\n", gateway.address.port()))
}

/// A gateway with an endpoint that has failed, and one that serves.
async fn with_a_broken_one(bad: &Upstream, good: &Upstream, more: &str) -> Process {
    bad.behave(Behaviour::always(status(500)));
    let text = format!("[breaker]\nfailure_threshold = 1\n[verifier]\ninitial_delay = \"1h\"\njitter = 0.0\n{more}");
    let gateway = Process::start(settings(&text, &[bad, good])).await;
    let mut client = RawClient::connect(gateway.address).await;
    eventually("the broken one is isolated", async || {
        assert_eq!(message(&mut client, 0).await.status, 200);
        bad.traffic() > 0
    })
    .await;
    gateway
}

async fn stopped(gateway: Process) {
    gateway.signal("TERM").await;
    assert_eq!(gateway.ended().await.0.code(), Some(0));
}

fn row<'a>(picture: &'a str, id: &str) -> Vec<&'a str> {
    let line = picture.lines().find(|line| line.starts_with(id)).unwrap_or_else(|| panic!("no {id} in {picture}"));
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
}

#[actix_web::test]
async fn status_shows_each_queue_and_why_an_endpoint_is_out() {
    let (bad, good) = (Upstream::anthropic("ep-bad").await, Upstream::anthropic("ep-good").await);
    let gateway = with_a_broken_one(&bad, &good, "").await;
    let (status, output, errors) = reaching(&gateway, "").run(&["status"]).await;
    assert_eq!((status, errors.as_str()), (0, ""));
    assert!(output.starts_with("qcc-gateway ") && output.contains("  leaks 0"), "{output}");
    let (out, serves) = (row(&output, "ep-bad"), row(&output, "ep-good"));
    assert_eq!(out[..4], ["ep-bad", "failure", "unhealthy", "open"], "{output}");
    assert!(out.contains(&"upstream_status: HTTP 500 api_error") && out.contains(&"0.0 %"), "{output}");
    assert!(out.iter().any(|cell| cell.starts_with("59m ") || *cell == "1h"), "when it is verified: {output}");
    assert_eq!(serves[..4], ["ep-good", "primary", "healthy", "closed"], "{output}");
    assert!(!output.contains('\u{1b}'), "no colour in a pipe");
    let (status, json, _) = reaching(&gateway, "").run(&["status", "--json"]).await;
    let stats: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((status, &stats["queues"]["failure"][0]), (0, &Value::from("ep-bad")));
    stopped(gateway).await;
}

#[actix_web::test]
async fn status_shows_why_an_endpoint_stays_out_and_that_a_restart_would_fail() {
    let (bad, good) = (Upstream::anthropic("ep-bad").await, Upstream::anthropic("ep-good").await);
    let gateway = with_a_broken_one(&bad, &good, "").await;
    bad.behave(Behaviour::always(status(401)));
    let mut client = RawClient::connect(gateway.address).await;
    let verify = client.post("/__qcc__/endpoints/ep-bad/verify", &[], "").await;
    assert_eq!(verify.status, 200, "{}", verify.text());
    let (_, output, _) = reaching(&gateway, "").run(&["status"]).await;
    let why = "upstream_status: HTTP 500 api_error; verification 1: HTTP 401 authentication_error";
    assert!(output.contains(why) && !output.contains("FAULTY"), "{output}");
    std::fs::write(gateway.folder().join("settings.toml"), "[breaker]\nwindow = 1\n").unwrap();
    assert_eq!(client.post("/__qcc__/reload", &[], "").await.status, 422);
    let (_, output, _) = reaching(&gateway, "").run(&["status"]).await;
    assert!(output.contains("\nsettings FAULTY: the latest reload was refused"), "{output}");
    stopped(gateway).await;
}

#[actix_web::test]
async fn the_token_comes_from_the_settings_or_from_a_variable() {
    let (bad, good) = (Upstream::anthropic("ep-bad").await, Upstream::anthropic("ep-good").await);
    let gateway = with_a_broken_one(&bad, &good, "[admin]\ntoken = \"hunter2\"\nread_token = \"r3ad3r\"").await;
    let url = format!("http://{}", gateway.address);
    let settings_without = reaching(&gateway, "");
    for (settings, arguments, variables, code, told) in [
        (&settings_without, &["status"][..], &[][..], 1, "wants a token"),
        (&settings_without, &["status"], &[("QCC_READ_TOKEN", "r3ad3r")], 0, ""),
        (&settings_without, &["status"], &[("QCC_ADMIN_TOKEN", "hunter2")], 0, ""),
        (&settings_without, &["status", "--token-env", "MINE"], &[("MINE", "hunter2")], 0, ""),
        (&settings_without, &["status", "--token-env", "MINE"], &[("MINE", "no")], 1, "does not know the token"),
        (&settings_without, &["status", "--token-env", "MINE"], &[("QCC_READ_TOKEN", "r3ad3r")], 2, "MINE is unset"),
        (&reaching(&gateway, "[admin]\ntoken = \"hunter2\""), &["status"], &[], 0, ""),
        (&reaching(&gateway, "[admin]\nread_token = \"r3ad3r\""), &["status"], &[], 0, ""),
        (&Settings::new("[admin]\ntoken = \"hunter2\""), &["status", "--url", &url], &[], 1, "wants a token"),
        (&Settings::new("no = settings"), &["status", "--url", &url], &[("QCC_READ_TOKEN", "r3ad3r")], 0, ""),
    ] {
        let mut command = settings.command(arguments);
        let output = within("the command ends", command.envs(variables.iter().copied()).output()).await.unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?} {variables:?} {errors}");
        assert!(errors.contains(told) && (code == 0) == errors.is_empty(), "{errors}");
        assert!(!errors.contains("hunter2") && !errors.contains("r3ad3r"), "{errors}");
    }
    stopped(gateway).await;
}

#[actix_web::test]
async fn what_can_not_be_shown_is_told_and_ends_with_status_one() {
    let upstream = Upstream::anthropic("a").await;
    let gateway = Process::start(settings("", &[&upstream])).await;
    let own = reaching(&gateway, "");
    let nobody = Settings::new("[server]\nport = 1");
    let (status, _, errors) = nobody.run(&["status"]).await;
    assert_eq!((status, errors.contains("no answer from http://127.0.0.1:1")), (1, true), "{errors}");
    let (status, _, errors) = nobody.run(&["top"]).await;
    assert_eq!((status, errors.contains("no answer from http://127.0.0.1:1")), (1, true), "{errors}");
    for (url, told) in [
        (upstream.base_url(), "is no qcc-gateway"),
        (format!("http://{}/nowhere", gateway.address), "is no qcc-gateway"),
    ] {
        let (status, _, errors) = own.run(&["status", "--url", &url]).await;
        assert_eq!((status, errors.contains(told)), (1, true), "{errors}");
    }
    let (status, _, errors) = Settings::new("[server]\nport = 0").run(&["status"]).await;
    assert_eq!((status, errors.contains("--url")), (2, true), "{errors}");
    stopped(gateway).await;
}

#[actix_web::test]
async fn a_gateway_that_refuses_is_quoted() {
    // As one does that has no token and is asked through a proxy.
    let proxy = Upstream::anthropic("proxy").await;
    let refusal = status_with(403, &[("content-type", "application/json")], r#"{"error":"only from its own machine"}"#);
    proxy.behave(Behaviour::always(refusal));
    let (status, _, errors) = Settings::new("").run(&["status", "--url", &proxy.base_url()]).await;
    assert_eq!((status, errors.contains("refuses: only from its own machine")), (1, true), "{errors}");
    let asked = &proxy.requests()[0];
    assert_eq!((asked.target.as_str(), asked.header("authorization")), ("/__qcc__/stats", None));
}

#[actix_web::test]
async fn own_routes_at_an_address_of_their_own_are_asked_there() {
    let upstream = Upstream::anthropic("a").await;
    let mut gateway = Process::start(settings("[admin]\nlisten = \"127.0.0.1:0\"", &[&upstream])).await;
    let line = gateway.logs("own routes on http://").await;
    let own = line.split("http://").nth(1).unwrap().to_owned();
    let (status, _, errors) = reaching(&gateway, "").run(&["status"]).await;
    assert_eq!((status, errors.contains("admin.listen")), (1, true), "{errors}");
    let (status, output, _) = reaching(&gateway, &format!("[admin]\nlisten = \"{own}\"")).run(&["status"]).await;
    assert_eq!(status, 0);
    assert_eq!(row(&output, "a ")[1], "primary");
    stopped(gateway).await;
}

fn send(child: &Child, signal: &str) {
    let id = child.id().unwrap().to_string();
    let sent = std::process::Command::new("sh").args(["-c", &format!("kill -{signal} {id}")]).status().unwrap();
    assert!(sent.success());
}

#[actix_web::test]
async fn in_a_pipe_top_is_status_again_and_again() {
    let upstream = Upstream::anthropic("a").await;
    let gateway = Process::start(settings("", &[&upstream])).await;
    let own = reaching(&gateway, "");
    for (arguments, begins) in [(&["top"][..], "qcc-gateway "), (&["top", "--json"], "{")] {
        let mut child = own.command(arguments).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut looks = 0;
        while looks < 2 {
            let line = within("a line of top", lines.next_line()).await.unwrap().expect("it goes on");
            assert!(!line.contains('\u{1b}'), "{line:?}");
            looks += usize::from(line.starts_with(begins));
        }
        send(&child, "TERM");
        assert_eq!(within("top ends", child.wait()).await.unwrap().code(), Some(0), "{arguments:?}");
    }
    stopped(gateway).await;
}

/// A free port that nobody is given who asks for any: below those, so that it can be given back and taken again.
fn quiet_port() -> u16 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let lowest = range.split_whitespace().next().and_then(|lowest| lowest.parse().ok()).unwrap_or(32_768);
    let mut ports = std::iter::repeat_with(|| fastrand::u16(10_000..lowest));
    ports.find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

#[actix_web::test]
async fn top_goes_on_while_the_gateway_is_away_and_ends_with_its_reader() {
    let port = quiet_port();
    let at_it = || {
        Settings::new(&format!(
            "[server]\nport = {port}\nworkers = 1\n[endpoints.a]\nbase_url = \"http://127.0.0.1:1\"\napi_key = \"k\"\n"
        ))
    };
    let gateway = Process::start(at_it()).await;
    let own = reaching(&gateway, "");
    let mut child = own.command(&["top"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = within("a line of top", lines.next_line()).await.unwrap().unwrap();
    assert!(first.starts_with("qcc-gateway"), "{first}");
    stopped(gateway).await;
    let mut errors = BufReader::new(child.stderr.take().unwrap()).lines();
    let error = within("an error of top", errors.next_line()).await.unwrap().unwrap();
    assert!(error.contains("no answer from"), "{error}");
    drop(lines);
    let gateway = Process::start(at_it()).await;
    assert_eq!(within("top ends with its reader", child.wait()).await.unwrap().code(), Some(0));
    stopped(gateway).await;
}

/// A terminal of this size, and what is written to it.
fn terminal(columns: u16, rows: u16) -> (Stdio, mpsc::UnboundedReceiver<String>) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    tcsetwinsize(&ours, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let theirs = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    let (written, seen) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let mut ours = File::from(ours);
        let mut buffer = [0; 4096];
        // It fails when the last who has the terminal open is gone.
        while let Ok(length @ 1..) = ours.read(&mut buffer) {
            if written.send(String::from_utf8_lossy(&buffer[..length]).into_owned()).is_err() {
                return;
            }
        }
    });
    (Stdio::from(theirs), seen)
}

#[actix_web::test]
async fn on_a_terminal_top_fills_the_screen_and_gives_it_back() {
    let upstream = Upstream::anthropic("a").await;
    let gateway = Process::start(settings("", &[&upstream])).await;
    let own = reaching(&gateway, "");
    for (signal, variables, is_coloured) in
        [("INT", &[("TERM", "xterm")][..], true), ("TERM", &[("TERM", "xterm"), ("NO_COLOR", "1")], false)]
    {
        let (theirs, mut seen) = terminal(40, 10);
        let mut command = own.command(&["top"]);
        let mut child = command.envs(variables.iter().copied()).stdout(theirs).spawn().unwrap();
        // It holds the other end of the terminal.
        drop(command);
        let mut written = String::new();
        while written.matches("\u{1b}[H").count() < 2 {
            written.push_str(&within("something on the terminal", seen.recv()).await.expect("it goes on"));
        }
        send(&child, signal);
        assert_eq!(within("top ends", child.wait()).await.unwrap().code(), Some(0), "{signal}");
        while let Some(more) = within("the rest on the terminal", seen.recv()).await {
            written.push_str(&more);
        }
        assert!(written.starts_with("\u{1b}[?1049h\u{1b}[?25l"), "{written:?}");
        assert!(written.ends_with("\u{1b}[?25h\u{1b}[?1049l"), "{written:?}");
        assert_eq!(written.contains("\u{1b}[32m"), is_coloured, "{variables:?} {written:?}");
        assert!(written.contains("qcc-gateway") && written.contains('…'), "cut at 40 columns: {written:?}");
    }
    stopped(gateway).await;
}
