//! What it costs to be watched: the gateway's CPU time per request with and without every route of its own being read once a second.
//!
//! `cargo bench --bench scraping`, on Linux. Two gateways run side by side, each with half of every round, so that what else the
//! machine does befalls both; of the rounds' ratios the median is told. `ROUNDS` (15) and `SECONDS` (2) set how long that takes.
#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a benchmark: it prints what it has measured, reads the clock, and ends where it can't measure"
)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinSet, LocalSet};

/// Connections that ask at a time.
const CONNECTIONS: usize = 64;
/// How often each route is read.
const PERIOD: Duration = Duration::from_secs(1);
/// What a dashboard, a scraper and a probe read.
const ROUTES: [&str; 7] = [
    "/__qcc__/stats",
    "/__qcc__/metrics",
    "/__qcc__/events",
    "/__qcc__/logs?lines=100",
    "/__qcc__/usage?by=client,model",
    "/__qcc__/health/ready",
    "/__qcc__/health/live",
];
const QUESTION: &str =
    r#"{"model":"claude-haiku-4-5","max_tokens":64,"messages":[{"role":"user","content":"Say hello."}]}"#;
const ANSWER: &str = r#"{"id":"msg_1","type":"message","role":"assistant","model":"claude-haiku-4-5","content":[{"type":"text","text":"Hello."}],"stop_reason":"end_turn","usage":{"input_tokens":10,"output_tokens":3}}"#;

/// A gateway in a process of its own, which ends with this.
struct Gateway {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Gateway {
    fn start(upstream: SocketAddr) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the settings");
        let file = folder.path().join("gateway.toml");
        let settings = format!(
            "[server]\nport = 0\n[endpoints.a]\nbase_url = \"http://{upstream}\"\napi_key = \"k\"\nmodels = [\"claude-*\"]\n"
        );
        fs::write(&file, settings).expect("the settings are written");
        let mut child = Command::new(env!("CARGO_BIN_EXE_qcc-gateway"))
            .arg("--settings")
            .arg(&file)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the gateway starts");
        let mut log = BufReader::new(child.stderr.take().expect("its log is piped")).lines();
        let line = log
            .by_ref()
            .map_while(Result::ok)
            .find(|line| line.contains("listening on http://"))
            .expect("it says where it listens");
        let address = line.rsplit('/').next().expect("an address").parse().expect("an address");
        // A log that nobody reads would fill its pipe and hold the gateway up.
        std::thread::spawn(move || log.map_while(Result::ok).for_each(drop));
        Self { child, address, _folder: folder }
    }

    /// The time that all its threads have run for.
    fn cpu_time(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("Linux tells of its threads");
        let run = |task: fs::DirEntry| -> Option<u64> {
            let schedstat = fs::read_to_string(task.path().join("schedstat")).ok()?;
            schedstat.split_whitespace().next()?.parse().ok()
        };
        Duration::from_nanos(tasks.filter_map(Result::ok).filter_map(run).sum())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads one message: its head, and its body by its length.
async fn read_message<R: AsyncReadExt + AsyncBufReadExt + Unpin>(stream: &mut R) -> Option<Vec<u8>> {
    let (mut line, mut length) = (String::new(), 0);
    loop {
        line.clear();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(body)
}

/// An upstream that answers every request alike.
async fn upstream(listener: TcpListener) {
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{ANSWER}",
        ANSWER.len()
    );
    while let Ok((stream, _)) = listener.accept().await {
        let answer = answer.clone();
        tokio::task::spawn_local(async move {
            let mut stream = tokio::io::BufReader::new(stream);
            while read_message(&mut stream).await.is_some() {
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// Asks on one connection until the time is up; how often it was answered.
async fn ask(address: SocketAddr, until: Instant) -> u64 {
    let request = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{QUESTION}",
        QUESTION.len()
    );
    let stream = TcpStream::connect(address).await.expect("the gateway takes connections");
    let mut stream = tokio::io::BufReader::new(stream);
    let mut answered = 0;
    while Instant::now() < until {
        stream.write_all(request.as_bytes()).await.expect("the gateway reads");
        let body = read_message(&mut stream).await.expect("the gateway answers");
        assert_eq!(body, ANSWER.as_bytes(), "not the upstream's answer");
        answered += 1;
    }
    answered
}

/// Reads every route, again and again until the time is up.
async fn watch(address: SocketAddr, until: Instant) {
    while Instant::now() < until {
        for route in ROUTES {
            let stream = TcpStream::connect(address).await.expect("the gateway takes connections");
            let mut stream = tokio::io::BufReader::new(stream);
            let request = format!("GET {route} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.expect("the gateway reads");
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.expect("the gateway answers");
            assert!(answer.starts_with(b"HTTP/1.1 200"), "{route}: {}", String::from_utf8_lossy(&answer));
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// One half of a round: microseconds of CPU time per request.
async fn measure(gateway: &Gateway, length: Duration, is_watched: bool) -> f64 {
    let until = Instant::now() + length;
    let before = gateway.cpu_time();
    let mut asking = JoinSet::new();
    for _ in 0..CONNECTIONS {
        asking.spawn_local(ask(gateway.address, until));
    }
    let (answered, ()) = tokio::join!(asking.join_all(), async {
        if is_watched {
            watch(gateway.address, until).await;
        }
    });
    let answered: u32 = answered.into_iter().sum::<u64>().try_into().expect("a countable number");
    gateway.cpu_time().saturating_sub(before).as_secs_f64() * 1e6 / f64::from(answered.max(1))
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

async fn run() {
    let (rounds, length) = (number("ROUNDS", 15), Duration::from_secs(number("SECONDS", 2)));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::task::spawn_local(upstream(listener));
    let (alone, watched) = (Gateway::start(address), Gateway::start(address));
    let (mut without, mut with, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=rounds {
        // They take turns in going first.
        let (a, b) = if round % 2 == 0 {
            let a = measure(&alone, length, false).await;
            (a, measure(&watched, length, true).await)
        } else {
            let b = measure(&watched, length, true).await;
            (measure(&alone, length, false).await, b)
        };
        // The first round warms up.
        if round > 0 {
            without.push(a);
            with.push(b);
            ratios.push(b / a);
        }
    }
    let cost = 100.0 * (median(&mut ratios) - 1.0);
    println!(
        "CPU per request: {:.1} µs alone, {:.1} µs watched (medians of {rounds} rounds)",
        median(&mut without),
        median(&mut with)
    );
    println!("being watched costs {cost:+.1} % (median of the rounds' ratios)");
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    LocalSet::new().block_on(&runtime, run());
}
