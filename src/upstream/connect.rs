//! Opens connections: name, TCP and TLS, all within one timeout.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::time::timeout_at;

use super::error::SendError;
use super::files;
use super::pool::now;
use super::resolving::Names;
use super::tls::Trust;
use super::transport::Transport;
use crate::domain::base_url::{Origin, Scheme};
use crate::domain::time::respite;

/// How long a connection is silent before the system probes it: some answers take minutes of thought, and middleboxes
/// would forget the connection. Probes also reveal the loss of the other host.
const PROBE_AFTER: Duration = Duration::from_secs(30);
/// The time between two such probes.
const PROBE_INTERVAL: Duration = Duration::from_secs(10);

/// Connects to an origin.
pub(super) async fn connect(
    origin: &Origin,
    names: &Names,
    trust: &Trust,
    limit: Duration,
) -> Result<Transport, SendError> {
    within(limit, open(origin, names, trust, limit)).await.unwrap_or(Err(SendError::ConnectTimeout))
}

/// The time limit has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TimedOut;

/// Waits for a future, but not longer than `limit`; if the process was held up, the wait is extended once.
async fn within<F: Future>(limit: Duration, future: F) -> Result<F::Output, TimedOut> {
    let mut future = pin!(future);
    // A limit beyond the clock's range is none.
    let Some(mut due) = now().checked_add(limit) else { return Ok(future.await) };
    loop {
        if let Ok(output) = timeout_at(due, future.as_mut()).await {
            return Ok(output);
        }
        let now = now();
        due = now + respite(now.saturating_duration_since(due)).ok_or(TimedOut)?;
    }
}

async fn open(origin: &Origin, names: &Names, trust: &Trust, limit: Duration) -> Result<Transport, SendError> {
    let name = match origin.scheme {
        Scheme::Http => None,
        Scheme::Https => Some(ServerName::try_from(origin.host.clone()).map_err(|_| SendError::InvalidHost)?),
    };
    let begun = now();
    let addresses = names.addresses(origin).await.map_err(unresolved)?;
    // Nothing is left if the process was held up meanwhile: then the caller's own limit ends this.
    let left = limit.saturating_sub(now().saturating_duration_since(begun));
    let left = if left.is_zero() { limit } else { left };
    let stream = first_reachable(&addresses, left, TcpStream::connect).await?;
    prepare(&stream);
    match name {
        None => Ok(Transport::Plain(stream)),
        Some(name) => {
            let stream = trust.connector().connect(name, stream).await.map_err(SendError::Tls)?;
            Ok(Transport::Tls(Box::new(stream)))
        }
    }
}

/// The error for a failed look-up: a resolver that can't open its files says that there is no such name.
fn unresolved(error: io::Error) -> SendError {
    if files::are_used_up() { SendError::OutOfFiles } else { SendError::Dns(error) }
}

/// Tries one address after the other. Each gets an equal share of the time left, so that one that swallows packets leaves
/// some for the next.
async fn first_reachable<S>(
    addresses: &[SocketAddr],
    limit: Duration,
    connect: impl AsyncFn(SocketAddr) -> io::Result<S>,
) -> Result<S, SendError> {
    let begun = now();
    let mut last = SendError::Dns(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    for (tried, address) in addresses.iter().enumerate() {
        let left = limit.saturating_sub(now().saturating_duration_since(begun));
        let untried = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        last = match within(left / untried, connect(*address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) if files::is_want_of(&error) => return Err(SendError::OutOfFiles),
            // There may be a port for another address of the name.
            Ok(Err(error)) if files::are_ports_used_up(&error, *address) => SendError::OutOfPorts,
            Ok(Err(error)) => SendError::Connect(error),
            Err(TimedOut) => SendError::ConnectTimeout,
        };
    }
    Err(last)
}

/// Sets the socket options of every connection. Without `TCP_NODELAY` small pieces wait for the acknowledgement of those
/// before.
fn prepare(stream: &TcpStream) {
    let probes = TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_INTERVAL);
    let set = stream.set_nodelay(true).and_then(|()| SockRef::from(stream).set_tcp_keepalive(&probes));
    if let Err(error) = set {
        log::debug!("upstream: a connection refuses its options and is used without: {error}");
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::future::pending;

    use rustix::io::Errno;

    use super::*;

    fn addresses(ports: &[u16]) -> Vec<SocketAddr> {
        ports.iter().map(|&port| SocketAddr::from(([127, 0, 0, 1], port))).collect()
    }

    /// 1 refuses, 2 swallows, 3 accepts; at 4 the gateway has no file left, and at 5 no port.
    async fn scripted(address: SocketAddr, tried: &RefCell<Vec<u16>>) -> io::Result<u16> {
        tried.borrow_mut().push(address.port());
        match address.port() {
            1 => Err(io::ErrorKind::ConnectionRefused.into()),
            2 => pending().await,
            4 => Err(Errno::MFILE.into()),
            5 => Err(Errno::ADDRNOTAVAIL.into()),
            port => Ok(port),
        }
    }

    async fn check(ports: &[u16], attempts: &[u16], expected: &str) {
        let tried = RefCell::default();
        let limit = Duration::from_millis(60);
        let result = first_reachable(&addresses(ports), limit, async |address| scripted(address, &tried).await).await;
        let result = match result {
            Ok(port) => port.to_string(),
            Err(SendError::OutOfFiles) => "out of files".to_owned(),
            Err(SendError::OutOfPorts) => "out of ports".to_owned(),
            Err(SendError::Connect(error)) => format!("{:?}", error.kind()),
            Err(SendError::ConnectTimeout) => "time-out".to_owned(),
            Err(error) => error.to_string(),
        };
        assert_eq!((result.as_str(), tried.into_inner().as_slice()), (expected, attempts), "{ports:?}");
    }

    #[tokio::test]
    async fn addresses_are_tried_in_turn_within_one_time_out() {
        check(&[3], &[3], "3").await;
        check(&[1, 3, 5], &[1, 3], "3").await;
        check(&[2, 3], &[2, 3], "3").await;
        check(&[2, 1], &[2, 1], "ConnectionRefused").await;
        check(&[1, 2], &[1, 2], "time-out").await;
        check(&[1, 4, 3], &[1, 4], "out of files").await;
        check(&[1, 5], &[1, 5], "out of ports").await;
        check(&[5, 3], &[5, 3], "3").await;
        check(&[], &[], "the host's name could not be resolved: the name has no address").await;
    }

    #[tokio::test]
    async fn who_was_held_up_looks_once_more_before_its_time_is_up() {
        const SHORT: Duration = Duration::from_millis(10);
        let held_up = async {
            std::thread::park_timeout(Duration::from_millis(600));
            // The runtime has yet to hear of what came meanwhile.
            tokio::time::sleep(SHORT).await;
        };
        assert_eq!(within(SHORT, held_up).await, Ok(()));
        assert_eq!(within(SHORT, pending::<()>()).await, Err(TimedOut));
    }

    #[tokio::test]
    async fn connections_send_small_pieces_at_once() {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        prepare(&stream);
        assert!(stream.nodelay().unwrap());
        assert!(SockRef::from(&stream).keepalive().unwrap());
    }
}
