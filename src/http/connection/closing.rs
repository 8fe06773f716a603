//! Ways to end a connection that keep what was sent before: a socket that is closed with something unread on it, or reset
//! with something unsent, throws away what the client has not got yet.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_rt::net::TcpStream;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::runtime::Handle;
use tokio::task::yield_now;
use tokio::time::timeout;

/// How long a client has to take what was passed on before its connection is broken off, until the system has it and then until
/// it has left.
pub(in crate::http) const TAKING: Duration = Duration::from_secs(30);

/// How much is thrown away at once, in bytes. It is on the stack alone, and no longer than that takes.
const SCRATCH: usize = 16 << 10;

/// How far a client is heard out of whom nothing is read any more. Most send all of a request before they look for its answer, and
/// some take the answer for lost where they can't.
#[derive(Clone, Copy, Debug)]
pub(super) struct HearingOut {
    /// How long it may take in all.
    pub(super) time: Duration,
    /// How long nothing may come.
    pub(super) pause: Duration,
    /// How much may come, in bytes.
    pub(super) most: usize,
}

pub(super) const HEARING_OUT: HearingOut =
    HearingOut { time: Duration::from_secs(5), pause: Duration::from_secs(1), most: 64 << 20 };

/// A connection that is served no more, and still has to be closed.
#[derive(Debug)]
pub(in crate::http) struct Left {
    pub(super) stream: TcpStream,
    /// Whether the client may be in the midst of sending what nobody will read.
    pub(super) is_sending: bool,
}

impl Left {
    /// Whether its client would lose what it was answered, were the connection closed at once.
    pub(in crate::http) fn is_sending(&self) -> bool {
        self.is_sending
    }

    /// Closes it in order.
    pub(in crate::http) async fn close(self) {
        close(self.stream, HEARING_OUT).await;
    }
}

/// Where the worker is ending too, nobody is left to wait: the socket is closed at once.
fn in_the_background(ending: impl Future<Output = ()> + Send + 'static) {
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(ending);
    }
}

/// Closes in order: says that no more comes, and takes in what the client still sends, keeping nothing, until it closes too.
pub(super) async fn close(mut stream: TcpStream, bounds: HearingOut) {
    let closed = async {
        stream.shutdown().await?;
        let mut unread = 0;
        while unread < bounds.most {
            match timeout(bounds.pause, poll_fn(|cx| poll_discard(&mut stream, cx))).await?? {
                0 => break,
                length => unread += length,
            }
            // A flood has one read in each turn of its thread.
            yield_now().await;
        }
        io::Result::Ok(())
    };
    // However it ends, the socket is closed after it.
    let _ = timeout(bounds.time, closed).await;
}

/// Throws away what has come, and says how much that was.
fn poll_discard(stream: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    let mut scratch = [0; SCRATCH];
    let mut scratch = ReadBuf::new(&mut scratch);
    Pin::new(stream).poll_read(cx, &mut scratch).map_ok(|()| scratch.filled().len())
}

/// Resets the connection once what was written before has left.
pub(super) fn reset(stream: TcpStream) {
    // A socket that can't be had back is closed by this; its client has left.
    let Ok(stream) = stream.into_std() else { return };
    let resetting = Resetting(stream);
    in_the_background(async move {
        if let Ok(stream) = watched_for_unsent(&resetting.0) {
            // Both ends of the wait are as good: the connection is reset next.
            let _ = timeout(TAKING, stream.writable()).await;
        }
        drop(resetting);
    });
}

/// Resets the connection at once, and so without what its client has not taken.
pub(super) fn abort(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).ok();
    drop(stream);
}

/// Resets its connection when it is dropped, be it because the worker ends: in order it must not end.
struct Resetting(std::net::TcpStream);

impl Drop for Resetting {
    fn drop(&mut self) {
        SockRef::from(&self.0).set_linger(Some(Duration::ZERO)).ok();
    }
}

/// The same connection, writable only when nothing unsent is left in the system's buffer.
#[cfg(target_os = "linux")]
fn watched_for_unsent(stream: &std::net::TcpStream) -> io::Result<TcpStream> {
    SockRef::from(stream).set_tcp_notsent_lowat(1)?;
    // What the system said of it before counts no more, so it is registered anew.
    TcpStream::from_std(stream.try_clone()?)
}

/// Other systems can't be asked; there, what is still unsent is lost.
#[cfg(not(target_os = "linux"))]
fn watched_for_unsent(stream: &std::net::TcpStream) -> io::Result<TcpStream> {
    TcpStream::from_std(stream.try_clone()?)
}
