//! For tests: an upstream on loopback that does exactly what a test says, and a client for it.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::Method;

use bytes::Bytes;
use futures_util::StreamExt;
use rustls::RootCertStore;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::lines::HeaderLines;
use super::*;
use crate::domain::base_url::{Origin, Scheme};
use crate::domain::request_body::RequestBody;

/// Runs a test that must not hang.
pub(crate) async fn within<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), test).await.expect("the test hangs")
}

/// Polls a future once, like a worker that then turns to something else.
pub(super) async fn poll_once<F: Future + Unpin>(future: &mut F) -> std::task::Poll<F::Output> {
    std::future::poll_fn(|cx| std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx))).await
}

/// A listening upstream.
pub(crate) struct Upstream {
    listener: TcpListener,
    pub(crate) origin: Origin,
}

impl Upstream {
    pub(crate) async fn bind() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        Self { listener, origin: Origin { scheme: Scheme::Http, host: "127.0.0.1".to_owned(), port } }
    }

    pub(crate) async fn accept(&self) -> Peer<TcpStream> {
        let (stream, _) = self.listener.accept().await.unwrap();
        // So that what a test says reaches the client without waiting for an acknowledgement.
        stream.set_nodelay(true).unwrap();
        Peer::new(stream)
    }

    /// Whether nobody else has connected.
    pub(crate) async fn has_no_more_connections(&self) -> bool {
        poll_once(&mut std::pin::pin!(self.listener.accept())).await.is_pending()
    }
}

/// A request as an upstream sees it.
pub(crate) struct Received {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// The upstream's end of a connection.
pub(crate) struct Peer<S> {
    pub(crate) stream: S,
    received: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, received: Vec::new() }
    }

    /// Reads a request's head, and leaves its body where it is.
    pub(crate) async fn request_head(&mut self) -> String {
        loop {
            if let Some(at) = self.received.windows(4).position(|window| window == b"\r\n\r\n") {
                let rest = self.received.split_off(at + 4);
                return String::from_utf8(std::mem::replace(&mut self.received, rest)).unwrap();
            }
            let mut byte = [0];
            assert_eq!(self.stream.read(&mut byte).await.unwrap(), 1, "the client left within its head");
            self.received.extend_from_slice(&byte);
        }
    }

    pub(crate) async fn request(&mut self) -> Received {
        let head = self.request_head().await;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await.unwrap();
        Received { head, body }
    }

    pub(crate) async fn say(&mut self, words: impl AsRef<[u8]>) {
        self.stream.write_all(words.as_ref()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Reads a request and answers it.
    pub(crate) async fn answer(&mut self, words: &str) -> Received {
        let request = self.request().await;
        self.say(words).await;
        request
    }

    /// Waits until the client has closed. Returns how many bytes came before that.
    pub(crate) async fn closed(&mut self) -> usize {
        let mut seen = 0;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match self.stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return seen,
                Ok(read) => seen += read,
            }
        }
    }
}

impl Peer<TcpStream> {
    /// Breaks the connection off.
    pub(crate) fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

pub(super) fn client_with(limits: Limits) -> Client {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    Client::new(Arc::new(config), limits)
}

pub(crate) fn client() -> Client {
    client_with(Limits::default())
}

/// A body longer than the system takes at once, no part of which equals another of the same length.
pub(super) fn eight_megabytes() -> Bytes {
    (0..2_u32 << 20).flat_map(u32::to_le_bytes).collect()
}

/// A body as it comes from a client: a long one in pieces.
fn in_pieces(body: &Bytes) -> RequestBody {
    const PIECE: usize = 40_000;
    (0..body.len()).step_by(PIECE).map(|begin| body.slice(begin..body.len().min(begin + PIECE))).collect()
}

pub(super) fn request(origin: &Origin, method: Method, body: impl Into<Bytes>) -> Request<'_> {
    let body = in_pieces(&body.into());
    Request { origin, method, target: "/v1".into(), headers: HeaderLines::default(), body, resend_stale: true }
}

pub(super) fn get(origin: &Origin) -> Request<'_> {
    request(origin, Method::GET, "")
}

pub(super) fn post(origin: &Origin) -> Request<'_> {
    request(origin, Method::POST, "question")
}

/// A permit that counts how often it is asked and used, and refuses once it was granted `granted` times.
pub(super) struct Permit {
    pub(super) asked: Cell<u32>,
    pub(super) used: Cell<u32>,
    granted: u32,
}

impl Permit {
    pub(super) const fn granted(granted: u32) -> Self {
        Self { asked: Cell::new(0), used: Cell::new(0), granted }
    }

    pub(super) const fn always() -> Self {
        Self::granted(u32::MAX)
    }
}

impl WritePermit for Permit {
    fn may_write(&self) -> Result<(), Withdrawn> {
        self.asked.set(self.asked.get() + 1);
        if self.asked.get() > self.granted { Err(Withdrawn) } else { Ok(()) }
    }

    fn has_written(&self) {
        self.used.set(self.used.get() + 1);
    }
}

/// Sends with a permit that is always granted.
pub(super) async fn send(client: &Client, request: Request<'_>) -> Result<Response, SendError> {
    client.send(request, &Permit::always(), Duration::from_secs(20)).await
}

/// The whole body, or the part that came and the error.
pub(super) async fn read(mut body: Body) -> Result<Vec<u8>, (Vec<u8>, BodyError)> {
    let mut whole = Vec::new();
    while let Some(piece) = body.next().await {
        match piece {
            Ok(piece) => {
                assert!(!piece.is_empty(), "a piece is empty");
                whole.extend_from_slice(&piece);
            }
            Err(error) => {
                assert!(body.next().await.is_none(), "something comes after the error");
                assert!(!body.is_finished());
                return Err((whole, error));
            }
        }
    }
    assert!(body.is_finished());
    Ok(whole)
}

/// Status and body of an answer that comes whole.
pub(super) async fn fetch(client: &Client, request: Request<'_>) -> (u16, String) {
    let response = send(client, request).await.unwrap();
    (response.status.as_u16(), String::from_utf8(read(response.body).await.unwrap()).unwrap())
}
