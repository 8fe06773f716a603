//! Who takes connections in, and deals them out among the threads.

use std::future::pending;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use super::super::state::Door;
use super::thread::Desk;
use super::{Phase, stops};

/// How long nothing is accepted after the system refused to: mostly the process has no file descriptor left.
const PAUSE_AFTER_REFUSAL: Duration = Duration::from_millis(500);

/// Takes connections in, so many at once.
#[derive(Clone, Debug)]
pub(super) struct Acceptor {
    places: Arc<Semaphore>,
    desks: Arc<[Desk]>,
}

impl Acceptor {
    /// One that deals out among these.
    pub(super) fn new(max_connections: usize, desks: Vec<Desk>) -> Self {
        let places = Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS)));
        Self { places, desks: desks.into() }
    }

    /// Accepts on these listeners, on the present thread, until the server stops; then it stops listening.
    ///
    /// # Errors
    ///
    /// What the system says of a listener.
    pub(super) fn listen(
        self,
        listening: impl Iterator<Item = (Door, TcpListener)>,
        phase: &watch::Receiver<Phase>,
    ) -> io::Result<()> {
        let listening = listening.map(|(door, listener)| Ok((door, tokio::net::TcpListener::from_std(listener)?)));
        for (door, listener) in listening.collect::<io::Result<Vec<_>>>()? {
            let (acceptor, phase) = (self.clone(), phase.clone());
            actix_rt::spawn(async move {
                tokio::select! {
                    () = acceptor.accept_all(&listener, door) => {}
                    () = stops(phase) => {}
                }
            });
        }
        Ok(())
    }

    async fn accept_all(&self, listener: &tokio::net::TcpListener, door: Door) {
        loop {
            // Taken first: who can't be served yet waits in the backlog.
            let Ok(place) = Arc::clone(&self.places).acquire_owned().await else { return pending().await };
            match listener.accept().await.and_then(|(stream, _)| stream.into_std()) {
                Ok(stream) => self.least_busy().hand_in(stream, door, place),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    log::error!(
                        "no connection can be accepted: {error}; the process may have too few file descriptors"
                    );
                    tokio::time::sleep(PAUSE_AFTER_REFUSAL).await;
                }
            }
        }
    }

    /// The thread with the fewest connections, the first of several: there the way to the registry is the shortest.
    fn least_busy(&self) -> &Desk {
        let least = self.desks.iter().min_by_key(|desk| desk.open());
        // There is a thread at least, the first.
        least.unwrap_or(&self.desks[0])
    }
}

/// Whether a connection had ended before it was accepted; the next one may be in order.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
