//! The client: a request in, an answer's head and body out.

use std::borrow::Cow;
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use actix_web::http::header::HeaderMap;
use actix_web::http::{Method, StatusCode, Version};

use super::body::Body;
use super::connect::connect;
use super::error::SendError;
use super::files;
use super::framing::{Reuse, framing, reuse};
use super::head::AnswerHead;
use super::lines::HeaderLines;
use super::pool::{Pool, now};
use super::resolving::Names;
use super::tls::Trust;
use super::wire::{Connection, Exchange, Failure, Outgoing, Unwritten};
use crate::domain::base_url::Origin;
use crate::domain::request_body::RequestBody;

/// What the gateway calls itself in requests of its own.
pub(super) const AGENT: &str = concat!("qcc-gateway/", env!("CARGO_PKG_VERSION"));

/// The most headers that any client accepts in an answer.
pub(super) const MAX_HEADERS: usize = 128;

/// The limits of what a client keeps and accepts.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long an unused connection is kept. Longer than the pauses of a conversation, shorter than the 60 s after which
    /// common load balancers close; servers that close sooner mostly announce it, and are believed.
    pub idle: Duration,
    /// How long a connection is kept in all, so that a name that moves to another address is followed.
    pub lifetime: Duration,
    /// How many idle connections are kept to one origin.
    pub max_idle_per_origin: usize,
    /// The longest head of an answer, in bytes.
    pub max_head: usize,
    /// The most headers of an answer, and 128 at most.
    pub max_headers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(30),
            lifetime: Duration::from_secs(300),
            max_idle_per_origin: 64,
            max_head: 64 * 1024,
            max_headers: MAX_HEADERS,
        }
    }
}

/// A request to an upstream.
#[derive(Clone)]
pub struct Request<'a> {
    /// Where it goes.
    pub origin: &'a Origin,
    /// Its method.
    pub method: Method,
    /// Path and query, as they go into the request line.
    pub target: Cow<'a, str>,
    /// Its headers. `host` is the origin's unless it is among them; those that concern a connection or the body's framing
    /// (`connection`, `content-length`, `transfer-encoding`, `expect` and the like) are the client's own and are left out.
    pub headers: HeaderLines<'a>,
    /// Its body; it is never copied unless it is small.
    pub body: RequestBody,
    /// Whether a request with a non-idempotent method may be sent again after a connection from the pool ended without a
    /// byte of answer, although it may have arrived (RFC 9112, section 9.3.1). Requests with idempotent methods always
    /// may; one that may not gets a new connection.
    pub resend_stale: bool,
}

impl fmt::Debug for Request<'_> {
    /// Without headers, query and body, which may hold credentials and what people say.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, method, body, .. } = self;
        f.debug_struct("Request")
            .field("origin", origin)
            .field("method", method)
            .field("body_length", &body.len())
            .finish_non_exhaustive()
    }
}

/// The head of an answer, and the body that follows it.
pub struct Response {
    /// The status; never an interim one.
    pub status: StatusCode,
    /// The headers as they came, hop-by-hop ones included.
    pub headers: HeaderMap,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// The body.
    pub body: Body,
}

impl fmt::Debug for Response {
    /// Without headers, which may hold credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, version, body, .. } = self;
        f.debug_struct("Response")
            .field("status", status)
            .field("version", version)
            .field("body", body)
            .finish_non_exhaustive()
    }
}

/// The permission to send was withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Withdrawn;

/// A permission, asked for right before the first byte of a request is written, in the same poll, and again as long as
/// none has been accepted.
pub trait WritePermit {
    /// Whether the request may still be sent.
    ///
    /// # Errors
    ///
    /// [`Withdrawn`] if not; then nothing is written.
    fn may_write(&self) -> Result<(), Withdrawn>;

    /// Called when the first bytes have been accepted, in the poll in which they were permitted: from now on the upstream
    /// may have the request.
    fn has_written(&self);
}

/// The permission for requests that need nobody's.
pub(super) struct Always;

impl WritePermit for Always {
    fn may_write(&self) -> Result<(), Withdrawn> {
        Ok(())
    }

    fn has_written(&self) {}
}

struct Shared {
    trust: Trust,
    limits: Limits,
    pool: Rc<Pool>,
    names: Names,
    /// When the want of files or ports was last reported.
    told: files::Told,
}

/// An HTTP/1.1 client with its own pool. A clone is the same client.
#[derive(Clone)]
pub struct Client {
    shared: Rc<Shared>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("idle_connections", &self.idle_connections()).finish_non_exhaustive()
    }
}

impl Client {
    /// A client that trusts what this TLS configuration trusts.
    #[must_use]
    pub fn new(trust: impl Into<Trust>, limits: Limits) -> Self {
        let pool = Rc::new(Pool::new(limits.clone(), now()));
        let (names, told) = (Names::default(), files::Told::default());
        Self { shared: Rc::new(Shared { trust: trust.into(), limits, pool, names, told }) }
    }

    /// How many connections are kept for later requests.
    #[must_use]
    pub fn idle_connections(&self) -> usize {
        self.shared.pool.idle()
    }

    /// Closes the idle connections whose time is over, and those that their upstreams have closed. Without requests
    /// nothing else would find them.
    pub fn tidy(&self) {
        self.shared.pool.tidy(now());
    }

    /// Sends a request and waits for the final head of its answer, for as long as the upstream takes: to time out, the
    /// caller drops the future. `connect_timeout` bounds name, connection and TLS together.
    ///
    /// # Errors
    ///
    /// [`SendError`]; [`SendError::written`] tells whether anything was written.
    pub async fn send(
        &self,
        request: Request<'_>,
        permit: &dyn WritePermit,
        connect_timeout: Duration,
    ) -> Result<Response, SendError> {
        let mut outgoing = Outgoing::of(&request)?;
        // Whether an idle connection is still usable shows only when something is sent on it.
        let began = may_send_again(&request).then(now);
        let pooled = began.and_then(|began| Some((self.shared.pool.take(request.origin, began)?, began)));
        // How the request ends if it may not go out again.
        let mut first_end = None;
        if let Some((connection, began)) = pooled {
            match self.exchange(connection, outgoing, &request.method, permit).await {
                // An upstream that ends the connection later had seen the request, and may have worked on it.
                Err(Failure { ended_silently: true, error }) if began.elapsed() < TELLING_OF_IDLENESS => {
                    log::debug!(
                        "upstream: a connection from the pool had been closed; the request goes out on a new one"
                    );
                    first_end = Some(error);
                    outgoing = Outgoing::of(&request)?;
                }
                // A 408 to an idle connection: the upstream had not seen this request (RFC 9110, section 15.5.9).
                Ok(response) if began.elapsed() < TELLING_OF_IDLENESS && has_timed_out_idle(&response) => {
                    log::debug!(
                        "upstream: a connection from the pool had timed out; the request goes out on a new one"
                    );
                    first_end = Some(SendError::ClosedBeforeHead { written: true });
                    outgoing = Outgoing::of(&request)?;
                }
                answer => return answer.map_err(|failure| failure.error),
            }
        }
        let shared = &self.shared;
        // Boxed, because TLS needs so much space that every request's future would be larger for it.
        let transport = Box::pin(connect(request.origin, &shared.names, &shared.trust, connect_timeout)).await;
        let want = match transport {
            Err(SendError::OutOfFiles) => Some("the process has too few file descriptors"),
            Err(SendError::OutOfPorts) => Some("the machine has too few ports to begin at"),
            Ok(_) | Err(_) => None,
        };
        // Requests log nothing graver than INFO.
        if let Some(want) = want.filter(|_| shared.told.is_due(now())) {
            log::error!("no connection to an endpoint can be opened: {want}");
        }
        let transport = transport?;
        let connection = Connection::new(transport, Rc::new(request.origin.clone()), now());
        let answer = self.exchange(connection, outgoing, &request.method, permit).await;
        answer.map_err(|failure| match (failure.error, first_end) {
            (SendError::Withdrawn, Some(first)) if first.written() => first,
            (error, _) => error,
        })
    }

    async fn exchange(
        &self,
        mut connection: Connection,
        outgoing: Outgoing,
        method: &Method,
        permit: &dyn WritePermit,
    ) -> Result<Response, Failure> {
        let mut exchange = Exchange::new(&mut connection, outgoing, permit, &self.shared.limits);
        let head = poll_fn(|cx| exchange.poll(cx)).await;
        let unwritten = exchange.into_unwritten();
        match head {
            Ok(head) => self
                .response(connection, method, head, unwritten)
                .map_err(|error| Failure { error, ended_silently: false }),
            Err(failure) => {
                if matches!(failure.error, SendError::Withdrawn) {
                    self.shared.pool.put_back(connection, now());
                }
                Err(failure)
            }
        }
    }

    fn response(
        &self,
        mut connection: Connection,
        method: &Method,
        head: AnswerHead,
        unwritten: Unwritten,
    ) -> Result<Response, SendError> {
        let AnswerHead { version, status, headers } = head;
        let (framing, reuse) = framing(method, version, status, &headers)?;
        // An upstream that has accepted the request may need its end to go on with the answer. One that has refused it
        // does not: then the rest stays unwritten, and the connection is of no further use.
        let (is_in_order, unwritten) = match unwritten {
            Unwritten::Nothing => (true, None),
            Unwritten::Rest(rest) if status.is_success() => (true, Some(rest)),
            Unwritten::Rest(_) | Unwritten::Lost => (false, None),
        };
        let home = match reuse {
            Reuse::Within(announced) if is_in_order => {
                connection.announced = announced;
                Some(Rc::clone(&self.shared.pool))
            }
            Reuse::Within(_) | Reuse::Never => None,
        };
        Ok(Response { status, headers, version, body: Body::new(connection, framing, unwritten, home) })
    }
}

/// How long after a request the connection's end, or a 408, may still have been sent before it. A later one is about the
/// request.
pub(super) const TELLING_OF_IDLENESS: Duration = Duration::from_secs(1);

/// Whether an answer on a pooled connection may have been sent before the request came: the server had given the
/// connection up.
fn has_timed_out_idle(response: &Response) -> bool {
    let is_closing = matches!(reuse(response.version, &response.headers), Reuse::Never);
    response.status == StatusCode::REQUEST_TIMEOUT && is_closing
}

/// Whether a request may go out again after a pooled connection ended under it, though it may have arrived.
fn may_send_again(request: &Request<'_>) -> bool {
    request.method.is_idempotent() || request.resend_stale
}
