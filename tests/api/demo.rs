//! The demonstration, run as a reader runs it: the binary, its output and its exit status.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::json;

use super::support::raw_client::RawClient;

/// The demonstration promises to end within a minute.
const A_MINUTE: Duration = Duration::from_secs(60);

/// The running binary, which does not outlive its test.
struct Demo {
    process: Child,
    lines: Receiver<String>,
    errors: Receiver<String>,
}

/// What a run came to.
struct Run {
    /// `None` where a signal ended it.
    status: Option<i32>,
    output: Vec<String>,
    errors: String,
}

impl Demo {
    fn start(options: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_qcc-gateway"))
            .arg("demo")
            .args(options)
            // Neither these nor the settings in the working directory are the demonstration's.
            .env("QCC__SERVER__PORT", "no port")
            .env("QCC_SETTINGS_DIR", "/nowhere")
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (tell, lines) = channel();
        let output = BufReader::new(process.stdout.take().unwrap());
        // These threads end with the process, which closes its side.
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
        let (tell, errors) = channel();
        let mut error_output = process.stderr.take().unwrap();
        std::thread::spawn(move || {
            let mut text = String::new();
            error_output.read_to_string(&mut text).unwrap();
            tell.send(text)
        });
        Self { process, lines, errors }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(A_MINUTE).unwrap()
    }

    /// Lines up to the first one that holds `part`.
    fn lines_to(&self, part: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            lines.push(self.line());
            if lines.last().is_some_and(|line| line.contains(part)) {
                return lines;
            }
        }
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.process.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }

    /// Waits for its end, for a minute at most from one line to the next.
    fn ended(mut self) -> Run {
        let mut output = Vec::new();
        loop {
            match self.lines.recv_timeout(A_MINUTE) {
                Ok(line) => output.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it has not ended: {output:#?}"),
            }
        }
        let errors = self.errors.recv_timeout(A_MINUTE).unwrap();
        Run { status: self.process.wait().unwrap().code(), output, errors }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs one cycle and gives its output.
fn full_cycle() -> String {
    let Run { status, output, errors } = Demo::start(&["--exit"]).ended();
    let output = output.join("\n");
    assert_eq!(status, Some(0), "{output}\n{errors}");
    // The seconds in brackets before each line are since the start.
    let mut latest = output.lines().filter_map(|line| line.strip_prefix('[')?.split_once("s]")?.0.trim().parse().ok());
    let latest: f64 = latest.next_back().unwrap();
    assert!(latest < A_MINUTE.as_secs_f64(), "{output}");
    output
}

#[test]
fn one_full_cycle_shows_every_move_and_ends_with_every_promise_held() {
    let output = full_cycle();
    let lines: Vec<&str> = output.lines().collect();
    let place =
        |part: &str| lines.iter().position(|line| line.contains(part)).unwrap_or_else(|| panic!("{part}: {output}"));
    let in_order = [
        "south is broken",
        "south: primary queue -> failure queue, because of upstream_status (HTTP 500 api_error)",
        "south, number 1: failed",
        "the old kind of breaker would let traffic through to south now (3)",
        "south is mended",
        "passed in",
        "south: failure queue -> primary queue",
        "in which 0 requests of traffic reached it",
        "second 1 after its recovery (slow start)",
        "second 5 after its recovery (whole share)",
        "The promises:",
    ];
    assert!(in_order.iter().map(|part| place(part)).is_sorted(), "{output}");
    assert_eq!(lines.iter().filter(|line| line.starts_with("  held    ")).count(), 5, "{output}");
    assert!(!output.contains("BROKEN"), "{output}");
}

#[test]
fn a_port_that_is_taken_is_told_on_standard_error_alone() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let Run { status, output, errors } = Demo::start(&["--port", &port]).ended();
    assert_eq!((status, output.len()), (Some(1), 0), "{output:?}");
    assert!(errors.contains("can't listen on 127.0.0.1") && errors.contains("--port"), "{errors}");
}

#[test]
fn a_signal_in_the_middle_of_a_cycle_ends_it_also_where_others_can_reach_it() {
    for (options, host, signal, expected) in
        [(&["--host", "0.0.0.0"][..], "0.0.0.0", "INT", 0), (&["--exit"], "127.0.0.1", "TERM", 1)]
    {
        let demo = Demo::start(options);
        let told = demo.lines_to("number 1: failed");
        assert!(told.iter().any(|line| line.contains(&format!("http://{host}:"))), "{told:#?}");
        demo.signal(signal);
        let Run { status, output, errors } = demo.ended();
        assert_eq!(status, Some(expected), "{options:?}: {output:#?} {errors}");
    }
}

#[actix_web::test]
async fn the_upstreams_alone_are_three_addresses_that_answer_until_a_signal() {
    let demo = Demo::start(&["--upstreams-only"]);
    let mut addresses = Vec::new();
    for name in ["north", "south", "spare"] {
        let line = demo.line();
        let address = line.strip_prefix(&format!("{name} http://")).unwrap_or_else(|| panic!("{line}"));
        addresses.push(address.parse::<SocketAddr>().unwrap());
        let key = format!("demo-key-of-{name}");
        let body = json!({"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": "Hello"}]});
        let mut client = RawClient::connect(addresses[addresses.len() - 1]).await;
        for (key, status) in [(key.as_str(), 200), ("wrong", 401)] {
            let headers = [("x-api-key", key), ("anthropic-version", "2023-06-01")];
            let answer = client.post("/v1/messages", &headers, body.to_string()).await;
            assert_eq!(answer.status, status, "{}", answer.text());
            assert!(answer.header("request-id").is_some());
        }
    }
    demo.signal("TERM");
    let Run { status, output, errors } = demo.ended();
    assert_eq!((status, output.len(), errors.as_str()), (Some(0), 0, ""), "{output:?}");
    for address in addresses {
        assert!(RawClient::is_refused(address).await);
    }
}
