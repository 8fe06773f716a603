//! The server: workers, each with the routes, on connections of our own making.

use std::io;
use std::net::TcpListener;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{HttpService, Protocol};
use actix_rt::net::TcpStream;
use actix_server::{Server, ServerBuilder};
use actix_service::{IntoServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_web::App;
use actix_web::dev::AppConfig;
use actix_web::web::{self, Data};

use super::connection::{Connection, HeadPatience};
use super::serve;
use super::state::{Door, Shared, Worker};

/// How long an idle client connection is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How long a connection that is being closed goes on reading what the client had begun to send.
const LINGER: Duration = Duration::from_secs(1);

/// Serves what comes to the listener, and to `admin` where the gateway's own routes have an address of their own. Each worker's
/// thread gets what `worker` builds there.
///
/// # Errors
///
/// What the system says of the listener.
pub fn run(
    listener: TcpListener,
    admin: Option<TcpListener>,
    shared: &Arc<Shared>,
    worker: impl Fn() -> Worker + Send + Clone + 'static,
) -> io::Result<Server> {
    let config = shared.config();
    let settings = &config.settings.server;
    let one_per_cpu = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let workers = if settings.workers == 0 { one_per_cpu() } else { settings.workers };
    let grace = settings.shutdown_grace.as_secs() + u64::from(settings.shutdown_grace.subsec_nanos() > 0);
    let patience = {
        let shared = Arc::clone(shared);
        move || HeadPatience::of(&shared.config().settings.server, &shared.buffered)
    };
    let builder = ServerBuilder::new();
    let stopping = builder.graceful_shutdown_signal();
    let factory = move |door: Door| {
        let app = App::new().app_data(Data::new(door)).app_data(Data::new(worker())).default_service(web::to(serve));
        let app = app.into_factory().map_err(|error: actix_web::Error| error.error_response());
        let stopping = stopping.clone();
        let http = HttpService::build()
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .keep_alive(KEEP_ALIVE)
            // The connection itself looks after heads that do not come: actix covers the first one only.
            .client_request_timeout(Duration::ZERO)
            .client_disconnect_timeout(LINGER)
            // A client that closes its side has left: handler, upstream stream and socket go at once.
            .h1_allow_half_closed(false)
            .on_connect_ext(|connection: &Connection, data| {
                data.insert(connection.handle());
            })
            .finish(map_config(app, |()| AppConfig::default()));
        let patience = patience.clone();
        let connect = fn_service(move |stream: TcpStream| {
            let patience = patience.clone();
            async move {
                // Each event is to leave at once; a socket that refuses this still works.
                stream.set_nodelay(true).ok();
                let peer = stream.peer_addr().ok();
                Ok::<_, DispatchError>((Connection::new(stream, patience()), Protocol::Http1, peer))
            }
        });
        connect.and_then(http)
    };
    let factory_of = |door: Door| {
        let factory = factory.clone();
        move || factory(door)
    };
    let door = if admin.is_some() { Door::Clients } else { Door::Common };
    let mut builder = builder
        .workers(workers)
        .max_concurrent_connections(settings.max_connections.div_ceil(workers))
        .shutdown_timeout(grace)
        .disable_signals()
        .listen("gateway", listener, factory_of(door))?;
    if let Some(admin) = admin {
        builder = builder.listen("admin", admin, factory_of(Door::Admin))?;
    }
    Ok(builder.run())
}
