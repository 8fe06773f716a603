//! An upstream for benchmarks: answers like Anthropic's Messages API, or by their path like OpenAI's Chat Completions, fast, on
//! one thread.
//!
//! `mock [plain | flaky:K | tls:FILE]...` listens on one free port of the loopback for each argument, prints the addresses in one
//! line and serves until it is killed. A flaky one hangs up behind K answers of a connection without having said so: what a pooled
//! connection is when it dies as the next request goes out. One with TLS writes its certificate to the file.
//!
//! A request may say with its headers `x-mock-events` how many pieces its stream has (50), and with `x-mock-delay-us` how long
//! the upstream waits before each (0: none). Pieces that have to be waited for tell when they were sent.

mod exchange;
mod tls;

use std::error::Error;
use std::io::Write;
use std::net::SocketAddr;

use exchange::Exchanges;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::{LocalSet, spawn_local};
use tokio_rustls::TlsAcceptor;

/// Connections that wait for being taken.
const BACKLOG: u32 = 4096;

fn listen() -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    socket.listen(BACKLOG)
}

/// What an upstream does besides answering.
enum Kind {
    Plain,
    /// Hangs up behind so many answers.
    Flaky(usize),
    Tls(TlsAcceptor),
}

impl Kind {
    fn read(text: &str) -> Result<Self, Box<dyn Error>> {
        match text.split_once(':') {
            None if text == "plain" => Ok(Self::Plain),
            Some(("flaky", count)) => Ok(Self::Flaky(count.parse()?)),
            Some(("tls", file)) => Ok(Self::Tls(tls::acceptor(file)?)),
            _ => Err(format!("{text} is none of plain, flaky:K, tls:FILE").into()),
        }
    }
}

async fn accept(listener: TcpListener, kind: Kind) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        // An error is the end of a connection, whoever brought it about.
        match &kind {
            Kind::Plain => spawn_local(Exchanges::new(stream).serve(usize::MAX)),
            &Kind::Flaky(answers) => spawn_local(Exchanges::new(stream).serve(answers)),
            Kind::Tls(acceptor) => {
                let accepting = acceptor.accept(stream);
                spawn_local(async move { Exchanges::new(accepting.await?).serve(usize::MAX).await })
            }
        };
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let mut addresses = Vec::new();
    let mut tasks = Vec::new();
    for kind in std::env::args().skip(1) {
        let kind = Kind::read(&kind)?;
        let listener = listen()?;
        addresses.push(listener.local_addr()?.to_string());
        tasks.push(spawn_local(accept(listener, kind)));
    }
    println!("{}", addresses.join(" "));
    std::io::stdout().flush()?;
    for task in tasks {
        let _ = task.await;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, run())
}
