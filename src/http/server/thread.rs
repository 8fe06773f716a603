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
use actix_service::{Service, ServiceFactory, ServiceFactoryExt, apply_fn_factory, fn_service};
use actix_web::body::BoxBody;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::super::connection::{Connection, Patience, calmly};
use super::super::serve;
use super::super::state::{Door, Shared, Worker};
use super::{Phase, Stops};

/// How long a connection that is being closed goes on reading what the client had begun to send.
const LINGER: Duration = Duration::from_secs(1);

/// Where a thread's connections are handed in.
#[derive(Clone, Debug)]
pub(super) struct Desk {
    arrivals: mpsc::UnboundedSender<Arrival>,
    open: Arc<AtomicUsize>,
}

impl Desk {
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
    desk: Desk,
    /// Cuts its connections off when dropped.
    cut: oneshot::Sender<()>,
    /// Comes when the last connection has ended, once no desk is left.
    ended: oneshot::Receiver<()>,
}

/// The thread is not there any more.
pub(super) fn ended() -> io::Error {
    io::Error::other("a thread of the server ended before it could serve; is the process out of threads or memory?")
}

impl Thread {
    /// Builds the routes on the arbiter's thread, and serves connections there.
    ///
    /// # Errors
    ///
    /// The thread has ended.
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
                .map(|door| connections(door, Rc::clone(&worker), Arc::clone(&shared), phase.clone()).new_service(()));
            actix_rt::spawn(async move {
                // The routes have nothing to set up that could fail.
                let (Ok(common), Ok(clients), Ok(admin)) = tokio::join!(common, clients, admin) else { return };
                let _ = tell.send(());
                serve_connections([common, clients, admin].map(Rc::new), arriving, being_cut).await;
                drop(end);
            });
        });
        ready.await.map_err(|_| ended())?;
        Ok(Self { desk: Desk { arrivals, open: Arc::default() }, cut, ended: ended_by })
    }

    pub(super) fn desk(&self) -> Desk {
        self.desk.clone()
    }

    /// What cuts its connections off when dropped, and what comes when the last one has ended.
    pub(super) fn into_ends(self) -> (oneshot::Sender<()>, oneshot::Receiver<()>) {
        (self.cut, self.ended)
    }
}

/// Serves what arrives until nothing more can, and all has ended or is cut off.
async fn serve_connections<S>(
    services: [Rc<S>; 3],
    mut arriving: mpsc::UnboundedReceiver<Arrival>,
    mut cut: oneshot::Receiver<()>,
) where
    S: Service<TcpStream, Response = (), Error = DispatchError> + 'static,
{
    let mut open = JoinSet::new();
    let [common, clients, admin] = services;
    let all_served = async {
        let mut may_arrive = true;
        while may_arrive || !open.is_empty() {
            tokio::select! {
                arrival = arriving.recv(), if may_arrive => match arrival {
                    Some(arrival) => {
                        let service = match arrival.door {
                            Door::Common => &common,
                            Door::Clients => &clients,
                            Door::Admin => &admin,
                        };
                        open.spawn_local(serve_connection(Rc::clone(service), arrival));
                    }
                    None => may_arrive = false,
                },
                // A handler that panics ends its connection alone.
                Some(_) = open.join_next() => {}
            }
        }
    };
    tokio::select! {
        () = all_served => {}
        _ = &mut cut => {}
    }
    // Whoever is cut off is accounted for before the thread is said to have ended.
    open.shutdown().await;
}

async fn serve_connection<S>(service: Rc<S>, arrival: Arrival)
where
    S: Service<TcpStream, Response = (), Error = DispatchError>,
{
    let Arrival { stream, place, .. } = arrival;
    let served = async {
        let stream = TcpStream::from_std(stream).map_err(DispatchError::Io)?;
        poll_fn(|cx| service.poll_ready(cx)).await?;
        service.call(stream).await
    };
    if let Err(error) = served.await {
        log::debug!("a client's connection has ended: {error}");
    }
    drop(place);
}

/// Serves connections that have come to this door.
fn connections(
    door: Door,
    worker: Rc<Worker>,
    shared: Arc<Shared>,
    phase: watch::Receiver<Phase>,
) -> impl ServiceFactory<
    TcpStream,
    Config = (),
    Response = (),
    Error = DispatchError,
    InitError = (),
    Service = impl Service<TcpStream, Response = (), Error = DispatchError>,
> {
    let patience = move || Patience::of(&shared.config().settings.server, &shared.buffered);
    // There is one way in, which finds its own way on: actix-web's, by patterns, would be gone for nothing.
    let routes = fn_service(move |request: Request| {
        let worker = Rc::clone(&worker);
        // An idle connection is not to have the room that a request needs.
        Box::pin(async move { Ok::<Response<BoxBody>, Infallible>(serve(request, worker, door).await.into()) })
    });
    let http = HttpService::build()
        .graceful_shutdown_signal(move || Stops::new(phase.clone()))
        // The connection itself looks after heads that do not come, of which actix covers the first one only, and after pauses,
        // for which actix would set a timer anew with each request.
        .keep_alive(KeepAlive::Os)
        .client_request_timeout(Duration::ZERO)
        .client_disconnect_timeout(LINGER)
        // A client that closes its side has left: handler, upstream stream and socket go at once.
        .h1_allow_half_closed(false)
        .on_connect_ext(|connection: &Connection, data| {
            data.insert(connection.handle());
        })
        .finish(routes);
    let connect = fn_service(move |stream: TcpStream| {
        let patience = patience();
        async move {
            // Each event is to leave at once; a socket that refuses this still works.
            stream.set_nodelay(true).ok();
            let peer = stream.peer_addr().ok();
            Ok::<Arrived, DispatchError>((Connection::new(stream, patience), Protocol::Http1, peer))
        }
    });
    connect.and_then(apply_fn_factory(http, serve_calmly))
}

fn serve_calmly<S>(arrived: Arrived, service: &S) -> impl Future<Output = Result<(), DispatchError>> + use<S>
where
    S: Service<Arrived, Response = (), Error = DispatchError>,
{
    let connection = arrived.0.handle();
    calmly(service.call(arrived), connection)
}
