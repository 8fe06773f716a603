//! An upstream for benchmarks: answers like Anthropic's Messages API, fast, on one thread.
//!
//! `mock [plain | flaky:K]...` listens on one free port of the loopback for each argument, prints the addresses in one line and
//! serves until it is killed. A flaky one hangs up behind K answers of a connection without having said so: what a pooled
//! connection is when it dies as the next request goes out.
//!
//! A request may say with its headers `x-mock-events` how many pieces its stream has (50), and with `x-mock-delay-us` how long
//! the upstream waits before each (0: none). Pieces that have to be waited for tell when they were sent.

mod exchange;

use std::io::Write;
use std::net::SocketAddr;

use exchange::Exchanges;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::{LocalSet, spawn_local};

/// Connections that wait for being taken.
const BACKLOG: u32 = 4096;

fn listen() -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    socket.listen(BACKLOG)
}

async fn accept(listener: TcpListener, answers: Option<usize>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        // An error is the end of a connection, whoever brought it about.
        spawn_local(async move { Exchanges::new(stream).serve(answers.unwrap_or(usize::MAX)).await });
    }
}

async fn run() -> std::io::Result<()> {
    let mut addresses = Vec::new();
    let mut tasks = Vec::new();
    for kind in std::env::args().skip(1) {
        let answers = match kind.strip_prefix("flaky:") {
            Some(count) => Some(count.parse().map_err(|_| std::io::Error::other(format!("no count: {kind}")))?),
            None => None,
        };
        let listener = listen()?;
        addresses.push(listener.local_addr()?.to_string());
        tasks.push(spawn_local(accept(listener, answers)));
    }
    println!("{}", addresses.join(" "));
    std::io::stdout().flush()?;
    for task in tasks {
        let _ = task.await;
    }
    Ok(())
}

fn main() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, run())
}
