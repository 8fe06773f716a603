//! Ways to end a connection that preserve what was sent: a socket closed with unread data, or reset with unsent data,
//! discards what the client has not received yet.

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

/// How long a client has to take what was passed on before its connection is broken off: once until the system has it,
/// and once more until it has left the system.
pub(in crate::http) const TAKING: Duration = Duration::from_secs(30);

/// How many bytes are discarded at once. The buffer is on the stack, only while one read lasts.
const SCRATCH: usize = 16 << 10;

/// How long and how far a client is heard out when nothing it sends is used any more. Most send all of a request before
/// they look for its answer, and some take the answer for lost if they can't.
#[derive(Clone, Copy, Debug)]
pub(super) struct HearingOut {
    /// How long it may take in all.
    pub(super) time: Duration,
    /// The longest pause.
    pub(super) pause: Duration,
    /// How much may come, in bytes.
    pub(super) most: usize,
}

pub(super) const HEARING_OUT: HearingOut =
    HearingOut { time: Duration::from_secs(5), pause: Duration::from_secs(1), most: 64 << 20 };

/// A connection that is no longer served, but still has to be closed.
#[derive(Debug)]
pub(in crate::http) struct Left {
    pub(super) stream: TcpStream,
    /// Whether the client may still be sending what nobody will read.
    pub(super) is_sending: bool,
}

impl Left {
    /// Whether the client would lose its answer if the connection were closed at once.
    pub(in crate::http) fn is_sending(&self) -> bool {
        self.is_sending
    }

    /// Closes the connection in an orderly way.
    pub(in crate::http) async fn close(self) {
        close(self.stream, HEARING_OUT).await;
    }
}

/// Runs `ending` in the background. If the worker is ending too, the future is dropped and the socket closes at once.
fn in_the_background(ending: impl Future<Output = ()> + Send + 'static) {
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(ending);
    }
}

/// Closes in an orderly way: announces the end, then reads and discards what the client still sends until it closes too.
pub(super) async fn close(mut stream: TcpStream, bounds: HearingOut) {
    let closed = async {
        stream.shutdown().await?;
        let mut unread = 0;
        while unread < bounds.most {
            match timeout(bounds.pause, poll_fn(|cx| poll_discard(&mut stream, cx))).await?? {
                0 => break,
                length => unread += length,
            }
            // A flood gets one read per turn of its thread.
            yield_now().await;
        }
        io::Result::Ok(())
    };
    // However it ends, the socket is closed after it.
    let _ = timeout(bounds.time, closed).await;
}

/// Discards what has come, and returns how many bytes that were.
fn poll_discard(stream: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    let mut scratch = [0; SCRATCH];
    let mut scratch = ReadBuf::new(&mut scratch);
    Pin::new(stream).poll_read(cx, &mut scratch).map_ok(|()| scratch.filled().len())
}

/// Resets the connection once what was written before has left.
pub(super) fn reset(stream: TcpStream) {
    // A socket that can't be converted back is closed by this; its client has left.
    let Ok(stream) = stream.into_std() else { return };
    let resetting = Resetting(stream);
    in_the_background(async move {
        if let Ok(stream) = watched_for_unsent(&resetting.0) {
            // Timed out or not: the connection is reset next.
            let _ = timeout(TAKING, stream.writable()).await;
        }
        drop(resetting);
    });
}

/// Resets the connection at once, losing what its client has not taken.
pub(super) fn abort(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).ok();
    drop(stream);
}

/// Resets its connection when dropped, even if only because the worker ends: it must not end in an orderly way.
struct Resetting(std::net::TcpStream);

impl Drop for Resetting {
    fn drop(&mut self) {
        SockRef::from(&self.0).set_linger(Some(Duration::ZERO)).ok();
    }
}

/// A handle to the same connection, writable only once nothing unsent is left in the system's buffer.
#[cfg(target_os = "linux")]
fn watched_for_unsent(stream: &std::net::TcpStream) -> io::Result<TcpStream> {
    SockRef::from(stream).set_tcp_notsent_lowat(1)?;
    // Registered anew, as the readiness reported before no longer counts.
    TcpStream::from_std(stream.try_clone()?)
}

/// A handle to the same connection. Other systems can't be asked, so there unsent data is lost.
#[cfg(not(target_os = "linux"))]
fn watched_for_unsent(stream: &std::net::TcpStream) -> io::Result<TcpStream> {
    TcpStream::from_std(stream.try_clone()?)
}
