//! Ways to end a connection that keep what was sent before: a socket that is closed with something unread on it, or reset
//! with something unsent, throws away what the client has not got yet.

use std::io;
use std::time::Duration;

use actix_rt::net::TcpStream;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Handle;
use tokio::time::timeout;

/// How long a client has to take what was sent before its connection is reset.
const TAKING: Duration = Duration::from_secs(10);
/// How long a client may go on sending what nobody reads any more.
const LINGER: Duration = Duration::from_secs(1);
/// More of what nobody reads is not waited for, in bytes.
const MOST_UNREAD: usize = 1 << 20;

/// Where the worker is ending too, nobody is left to wait: the socket is closed at once.
fn in_the_background(ending: impl Future<Output = ()> + Send + 'static) {
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(ending);
    }
}

/// Closes in order: says that no more comes, and takes in what the client still sends, until it closes too.
pub(super) fn close(mut stream: TcpStream) {
    in_the_background(async move {
        let closed = async {
            stream.shutdown().await?;
            let mut scratch = [0; 4096];
            let mut unread = 0;
            while unread < MOST_UNREAD {
                match stream.read(&mut scratch).await? {
                    0 => break,
                    length => unread += length,
                }
            }
            io::Result::Ok(())
        };
        // However it ends, the socket is closed after it.
        let _ = timeout(LINGER, closed).await;
    });
}

/// Resets the connection once what was written before has left.
pub(super) fn reset(stream: TcpStream) {
    // A socket that can't be had back is closed by this; its client has left.
    let Ok(stream) = stream.into_std() else { return };
    let resetting = Resetting(stream);
    in_the_background(async move {
        if let Ok(stream) = watched_for_unsent(&resetting.0) {
            // One that takes nothing for so long is not waited for.
            let _ = timeout(TAKING, stream.writable()).await;
        }
        drop(resetting);
    });
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
