//! One thread of the server: the routes, and the connections that are served there.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{HttpService, KeepAlive, Protocol, Request, Response};
use actix_rt::ArbiterHandle;
use actix_rt::net::TcpStream;
use actix_service::{Service, ServiceFactory, fn_service};
use actix_web::body::BoxBody;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::super::connection::{ClientBounds, Connection};
use super::super::state::{Door, Shared, Worker};
use super::super::{is_refused_by_its_head, serve};
use super::{Phase, Stops};
use crate::actors::messages::Note;
use crate::domain::stats::{RequestEnd, RequestRecord};
use crate::domain::time::Moment;

/// How long actix goes on reading what the client had begun to send, before it closes a connection.
const LINGER: Duration = Duration::from_secs(1);

/// How long a stop waits for clients that are still sending what nobody reads, so that they get what they were answered.
const LINGER_AT_A_STOP: Duration = Duration::from_secs(1);

/// How often connections to upstreams that are of no further use are closed.
const TIDYING: Duration = Duration::from_secs(10);

/// Where a thread's connections are handed in.
#[derive(Clone, Debug)]
pub(super) struct Inlet {
    arrivals: mpsc::UnboundedSender<Arrival>,
    open: Arc<AtomicUsize>,
}

impl Inlet {
    /// How many connections the thread has.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Hands a connection in.
    pub(super) fn hand_in(&self, stream: std::net::TcpStream, door: Door, place: OwnedSemaphorePermit) {
        self.open.fetch_add(1, Ordering::Relaxed);
        let place = Place { _of_all: place, open: Arc::clone(&self.open) };
        // A thread that has ended drops it, and with it the connection.
        let _ = self.arrivals.send(Arrival { stream, door, place });
    }
}

/// A connection's place among all, and among its thread's; given up when it is dropped.
#[derive(Debug)]
struct Place {
    _of_all: OwnedSemaphorePermit,
    open: Arc<AtomicUsize>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection, as it is handed to actix.
type Arrived = (Connection, Protocol, Option<SocketAddr>);

/// A connection that has been accepted.
#[derive(Debug)]
struct Arrival {
    stream: std::net::TcpStream,
    door: Door,
    place: Place,
}

/// A thread that serves connections.
#[derive(Debug)]
pub(super) struct Thread {
    inlet: Inlet,
    /// Cuts its connections off when dropped.
    cut: oneshot::Sender<()>,
    /// Resolved when the last connection has ended, once no inlet is left.
    ended: oneshot::Receiver<()>,
}

/// The error for a thread that is gone.
pub(super) fn ended() -> io::Error {
    io::Error::other("a thread of the server ended before it could serve; is the process out of threads or memory?")
}

impl Thread {
    /// Builds the routes on the arbiter's thread, and serves connections there.
    ///
    /// # Errors
    ///
    /// That the thread has ended.
    pub(super) async fn start(
        arbiter: ArbiterHandle,
        shared: &Arc<Shared>,
        worker: impl Fn() -> Worker + Send + 'static,
        phase: &watch::Receiver<Phase>,
    ) -> io::Result<Self> {
        let (arrivals, arriving) = mpsc::unbounded_channel();
        let ((cut, being_cut), (end, ended_by)) = (oneshot::channel(), oneshot::channel());
        let (tell, ready) = oneshot::channel();
        let (shared, phase) = (Arc::clone(shared), phase.clone());
        arbiter.spawn_fn(move || {
            let worker = Rc::new(worker());
            let [common, clients, admin] = [Door::Common, Door::Clients, Door::Admin]
                .map(|door| routes(door, Rc::clone(&worker), phase.clone()).new_service(()));
            actix_rt::spawn(async move {
                // The routes have nothing to set up that could fail.
                let (Ok(common), Ok(clients), Ok(admin)) = tokio::join!(common, clients, admin) else { return };
                let _ = tell.send(());
                let reception = Reception { common, clients, admin, worker, shared, phase };
                Rc::new(reception).serve_connections(arriving, being_cut).await;
                drop(end);
            });
        });
        ready.await.map_err(|_| ended())?;
        Ok(Self { inlet: Inlet { arrivals, open: Arc::default() }, cut, ended: ended_by })
    }

    pub(super) fn inlet(&self) -> Inlet {
        self.inlet.clone()
    }

    /// The sender that cuts its connections off when dropped, and the receiver that is resolved when the last one has
    /// ended.
    pub(super) fn into_ends(self) -> (oneshot::Sender<()>, oneshot::Receiver<()>) {
        (self.cut, self.ended)
    }
}

/// What a thread's connections are served by.
#[derive(Debug)]
struct Reception<S> {
    common: S,
    clients: S,
    admin: S,
    worker: Rc<Worker>,
    shared: Arc<Shared>,
    phase: watch::Receiver<Phase>,
}

impl<S> Reception<S>
where
    S: Service<Arrived, Response = (), Error = DispatchError> + 'static,
{
    /// Serves what arrives until nothing more can arrive and all has ended, or until it is cut off.
    async fn serve_connections(
        self: Rc<Self>,
        mut arriving: mpsc::UnboundedReceiver<Arrival>,
        mut cut: oneshot::Receiver<()>,
    ) {
        let mut open = JoinSet::new();
        let mut tidying = tokio::time::interval(TIDYING);
        let all_served = async {
            let mut may_arrive = true;
            while may_arrive || !open.is_empty() {
                tokio::select! {
                    arrival = arriving.recv(), if may_arrive => match arrival {
                        Some(arrival) => {
                            open.spawn_local(Rc::clone(&self).serve_connection(arrival));
                        }
                        None => may_arrive = false,
                    },
                    // A handler that panics ends only its connection.
                    Some(_) = open.join_next() => {}
                    _ = tidying.tick() => self.worker.client.tidy(),
                }
            }
        };
        tokio::select! {
            () = all_served => {}
            _ = &mut cut => {}
        }
        // Connections that are cut off are accounted for before the thread is said to have ended.
        open.shutdown().await;
    }

    /// Serves a connection, and closes it. It keeps its place until it is closed.
    async fn serve_connection(self: Rc<Self>, arrival: Arrival) {
        let Arrival { stream, door, place } = arrival;
        let connection = match TcpStream::from_std(stream) {
            Ok(stream) => {
                Connection::new(stream, ClientBounds::of(&self.shared.config().settings, &self.shared.buffered))
            }
            Err(error) => return log::debug!("a client's connection can't be served: {error}"),
        };
        let (handle, began) = (connection.handle(), self.shared.clock.now());
        if let Err(error) = self.serve(connection, door).await {
            log::debug!("a client's connection has ended: {error}");
        }
        if let Some(status) = handle.given_up() {
            self.count_given_up(status, began);
        }
        match handle.left() {
            Some(left) if left.is_sending() => tokio::select! {
                () = left.close() => {}
                () = self.lingered_at_a_stop() => {}
            },
            // A stop need not wait for it.
            Some(left) => drop(actix_rt::spawn(async move {
                left.close().await;
                drop(place);
            })),
            None => {}
        }
    }

    /// Counts a request whose head was given up with this status: no handler has seen it.
    fn count_given_up(&self, status: u16, began: Moment) {
        let at = self.shared.clock.now();
        let (end, elapsed) = (RequestEnd::of_answer(Some(status), None), at.since(began));
        let record = RequestRecord { end, at, elapsed, attempts: 0, client: None, profile: None };
        self.shared.core.stats.do_send(Note::Request(record, None));
    }

    async fn serve(&self, connection: Connection, door: Door) -> Result<(), DispatchError> {
        let service = match door {
            Door::Common => &self.common,
            Door::Clients => &self.clients,
            Door::Admin => &self.admin,
        };
        poll_fn(|cx| service.poll_ready(cx)).await?;
        let peer = connection.peer();
        service.call((connection, Protocol::Http1, peer)).await
    }

    async fn lingered_at_a_stop(&self) {
        Stops::new(self.phase.clone()).await;
        tokio::time::sleep(LINGER_AT_A_STOP).await;
    }
}

/// The service for connections that have come to this door.
fn routes(
    door: Door,
    worker: Rc<Worker>,
    phase: watch::Receiver<Phase>,
) -> impl ServiceFactory<
    Arrived,
    Config = (),
    Response = (),
    Error = DispatchError,
    InitError = (),
    Service = impl Service<Arrived, Response = (), Error = DispatchError>,
> {
    let doorkeeper = Rc::clone(&worker);
    // Called for a request whose client waits with the body until it is told to go on.
    let expectation = fn_service(move |request: Request| {
        let worker = Rc::clone(&doorkeeper);
        // Boxed: few clients do so, and an idle connection should not hold the space for it.
        Box::pin(async move {
            if is_refused_by_its_head(&request, &worker, door) {
                return Err::<Request, Response<BoxBody>>(serve(request, worker, door).await.into());
            }
            Ok(request)
        })
    });
    // A single service does all the routing; actix-web's pattern matching would be wasted work.
    let routes = fn_service(move |request: Request| {
        let worker = Rc::clone(&worker);
        // Boxed: an idle connection should not hold the space that a request needs.
        Box::pin(async move { Ok::<Response<BoxBody>, Infallible>(serve(request, worker, door).await.into()) })
    });
    HttpService::build()
        .graceful_shutdown_signal(move || Stops::new(phase.clone()))
        // The connection itself handles heads that do not come, of which actix covers only the first, and pauses, for
        // which actix would set a new timer with each request.
        .keep_alive(KeepAlive::Os)
        .expect(expectation)
        .client_request_timeout(Duration::ZERO)
        .client_disconnect_timeout(LINGER)
        // A client that closes its side has left: handler, upstream stream and socket go at once.
        .h1_allow_half_closed(false)
        .on_connect_ext(|connection: &Connection, data| {
            data.insert(connection.handle());
        })
        .finish(routes)
}
