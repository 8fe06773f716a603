//! The server: threads that each serve connections with the routes, and an acceptor that deals the connections out.
//!
//! The first of the threads is the registry's own: a request that is served there asks for its endpoint without waking another
//! thread, which costs more than all that the registry does (docs/performance.md). That is why actix-server, which keeps its
//! threads to itself, is not used here.

mod accepting;
mod thread;

use std::io;
use std::net::TcpListener;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_rt::{Arbiter, ArbiterHandle};
use futures_util::future::join_all;
use tokio::sync::{oneshot, watch};

use super::state::{Door, Shared, Worker};
use super::waking::Wakes;
use accepting::Acceptor;
use thread::Thread;

/// How long a stop waits for threads whose connections have been cut off: one that hangs must not keep the process.
const CUTTING_OFF: Duration = Duration::from_secs(2);

/// A running server. One that is dropped is stopped at once.
#[derive(Debug)]
pub struct Server {
    stopping: watch::Sender<Phase>,
    threads: Vec<Thread>,
    /// The arbiters of the server's own threads: all but the first.
    arbiters: Vec<Arbiter>,
}

/// The phases of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Connections are taken.
    Serving,
    /// No more are taken, and each idle one is closed.
    Stopping,
}

/// Ready when the server stops, or at once if it has. It is polled whenever its connection is, so that must cost next to
/// nothing.
struct Stops {
    phase: watch::Receiver<Phase>,
    stopping: Wakes<dyn Future<Output = ()>>,
}

impl Stops {
    fn new(phase: watch::Receiver<Phase>) -> Self {
        let mut awaited = phase.clone();
        let stopping = async move {
            // An error says that the server has been dropped, which ends its connections by other means.
            let _ = awaited.wait_for(|phase| *phase == Phase::Stopping).await;
        };
        Self { phase, stopping: Wakes::new(Box::pin(stopping)) }
    }
}

impl Future for Stops {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.stopping.will_wake(cx) && matches!(self.phase.has_changed(), Ok(false)) {
            return Poll::Pending;
        }
        self.stopping.poll(cx)
    }
}

impl Server {
    /// Serves what comes to the listener, and to `admin` if the gateway's own routes have an address of their own.
    ///
    /// `first` is the thread of the first worker and of the acceptor; the others are started here. Each gets what
    /// `worker` builds on it.
    ///
    /// # Errors
    ///
    /// The system's error with a listener, or that a thread could not be started.
    pub async fn start(
        listener: TcpListener,
        admin: Option<TcpListener>,
        first: &ArbiterHandle,
        shared: &Arc<Shared>,
        worker: impl Fn() -> Worker + Send + Clone + 'static,
    ) -> io::Result<Self> {
        let config = shared.config();
        let settings = &config.settings.server;
        let one_per_cpu = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let workers = if settings.workers == 0 { one_per_cpu() } else { settings.workers };
        let (stopping, phase) = watch::channel(Phase::Serving);
        let arbiters: Vec<Arbiter> = (1..workers).map(|_| Arbiter::new()).collect();
        let handles = std::iter::once(first.clone()).chain(arbiters.iter().map(Arbiter::handle));
        let threads = handles.map(|handle| Thread::start(handle, shared, worker.clone(), &phase));
        let threads = join_all(threads).await.into_iter().collect::<io::Result<Vec<Thread>>>()?;
        let door = if admin.is_some() { Door::Clients } else { Door::Common };
        let doors = [(door, Some(listener)), (Door::Admin, admin)];
        let acceptor = Acceptor::new(settings.max_connections, threads.iter().map(Thread::inlet).collect());
        let (tell, told) = oneshot::channel();
        first.spawn_fn(move || {
            let listening = doors.into_iter().filter_map(|(door, listener)| Some((door, listener?)));
            drop(tell.send(acceptor.listen(listening, &phase)));
        });
        told.await.map_err(|_| thread::ended())??;
        Ok(Self { stopping, threads, arbiters })
    }

    /// Stops listening, lets what is under way go on for `grace`, and cuts off the rest.
    pub async fn stop(self, grace: Duration) {
        let Self { stopping, threads, arbiters } = self;
        stopping.send_replace(Phase::Stopping);
        let (cuts, ends): (Vec<_>, Vec<_>) = threads.into_iter().map(Thread::into_ends).unzip();
        let mut all = std::pin::pin!(join_all(ends));
        if tokio::time::timeout(grace, &mut all).await.is_err() {
            drop(cuts);
            if tokio::time::timeout(CUTTING_OFF, &mut all).await.is_err() {
                log::error!("a thread of the server does not end; stopping without it");
            }
        }
        for arbiter in arbiters {
            // Not joined: a name look-up there would keep the process from ending.
            arbiter.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::super::waking::use_turn_up;
    use super::*;

    /// An acceptor that finds more connections than it may take in a turn first polls for the stop at that turn's end.
    #[actix_web::test]
    async fn who_first_asks_in_a_turn_that_is_used_up_hears_of_the_stop_all_the_same() {
        let (stopping, phase) = watch::channel(Phase::Serving);
        let (asked, has_asked) = oneshot::channel();
        let mut asked = Some(asked);
        let mut stops = Stops::new(phase);
        let waiting = actix_rt::spawn(poll_fn(move |cx| {
            if let Some(asked) = asked.take() {
                use_turn_up(cx);
                asked.send(()).unwrap();
            }
            Pin::new(&mut stops).poll(cx)
        }));
        has_asked.await.unwrap();
        tokio::task::yield_now().await;
        stopping.send_replace(Phase::Stopping);
        tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("it hears of it").unwrap();
    }
}
