//! A connected byte stream, plain or in TLS.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::BytesMut;
use futures_util::task::noop_waker_ref;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// A connected byte stream.
#[derive(Debug)]
pub(super) enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What is in the socket's receive buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    Nothing,
    Bytes,
    End,
}

/// When a connection was last used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LastUse {
    /// A moment ago: it is most unlikely that its upstream has closed it since.
    JustNow,
    /// Some time ago.
    Before,
}

impl Transport {
    /// Whether some bytes of a failed write may have left: TLS writes its own pieces.
    pub(super) const fn may_write_before_it_fails(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(_) => true,
        }
    }

    /// Ready when there may be something to read. Within TLS only reading tells.
    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => stream.poll_read_ready(cx),
            Self::Tls(_) => Poll::Ready(Ok(())),
        }
    }

    /// Reads what is there into the buffer's spare room, of which there must be some; 0 at the end.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<usize>> {
        // The future of `read_buf` has no state of its own, so a new one for each poll does as well.
        match self {
            Self::Plain(stream) => pin!(stream.read_buf(buffer)).poll(cx),
            Self::Tls(stream) => pin!(stream.read_buf(buffer)).poll(cx),
        }
    }

    /// Writes some of the parts, in one system call if the transport can; a single part without a list, which costs the
    /// system less.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match (self, parts) {
            (Self::Plain(stream), [only]) => Pin::new(stream).poll_write(cx, only),
            (Self::Plain(stream), parts) => Pin::new(stream).poll_write_vectored(cx, parts),
            (Self::Tls(stream), parts) => Pin::new(stream).poll_write_vectored(cx, parts),
        }
    }

    /// Writes what TLS still holds to the socket.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    /// Whether the connection is open and the upstream has sent nothing on it unasked.
    ///
    /// The socket itself is asked, because the runtime may not yet have heard of its end. Right after an exchange, where
    /// that would cost many requests another system call, the runtime's word will do. Within TLS, session tickets are not
    /// the upstream's words, so they are read first.
    pub(super) fn is_quiet(&mut self, last_use: LastUse) -> bool {
        if let (Self::Plain(stream), LastUse::JustNow) = (&*self, last_use)
            && stream.poll_read_ready(&mut Context::from_waker(noop_waker_ref())).is_pending()
        {
            return true;
        }
        let waiting = self.waiting();
        match (&mut *self, waiting) {
            (_, Waiting::End) | (Self::Plain(_), Waiting::Bytes) => return false,
            (Self::Plain(_), Waiting::Nothing) => return true,
            (Self::Tls(_), Waiting::Nothing | Waiting::Bytes) => {}
        }
        let mut unasked = BytesMut::with_capacity(1);
        let has_words = self.poll_read(&mut Context::from_waker(noop_waker_ref()), &mut unasked).is_ready();
        !has_words && self.waiting() == Waiting::Nothing
    }

    fn waiting(&self) -> Waiting {
        let socket = match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        };
        match SockRef::from(socket).peek(&mut [MaybeUninit::uninit()]) {
            Ok(0) => Waiting::End,
            Ok(_) => Waiting::Bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Waiting::Nothing,
            Err(_) => Waiting::End,
        }
    }
}
