//! Accepts connections, and deals them out among the threads.

use std::future::pending;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use super::super::state::Door;
use super::super::times::present;
use super::thread::Inlet;
use super::{Phase, Stops};
use crate::upstream::Told;

/// How long nothing is accepted after the system refused to: usually the process has no file descriptor left.
const PAUSE_AFTER_REFUSAL: Duration = Duration::from_millis(500);

/// Up to this many connections need no second thread: most of the time they wait for models.
const FEW: usize = 128;

/// How many connections the gateway's own routes have to themselves if they have an address of their own, so that health
/// checks and admins are heard while clients take all of theirs.
const OWN_PLACES: usize = 256;

/// Accepts connections, up to a number at once.
#[derive(Clone, Debug)]
pub(super) struct Acceptor {
    places: Arc<Semaphore>,
    own_places: Arc<Semaphore>,
    inlets: Arc<[Inlet]>,
}

impl Acceptor {
    /// An acceptor that deals out among these inlets.
    pub(super) fn new(max_connections: usize, inlets: Vec<Inlet>) -> Self {
        let places = Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS)));
        Self { places, own_places: Arc::new(Semaphore::new(OWN_PLACES)), inlets: inlets.into() }
    }

    /// Accepts on these listeners, on the present thread, until the server stops; then it stops listening.
    ///
    /// # Errors
    ///
    /// The system's error with a listener.
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
                    () = Stops::new(phase) => {}
                }
            });
        }
        Ok(())
    }

    async fn accept_all(&self, listener: &tokio::net::TcpListener, door: Door) {
        let places = match door {
            Door::Common | Door::Clients => &self.places,
            Door::Admin => &self.own_places,
        };
        let told = Told::default();
        loop {
            match listener.accept().await.and_then(|(stream, _)| stream.into_std()) {
                Ok(stream) => {
                    // While one waits for a place, later ones wait in the backlog.
                    let Ok(place) = Arc::clone(places).acquire_owned().await else { return pending().await };
                    self.inlet().hand_in(stream, door, place);
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    if told.is_due(present()) {
                        log::error!(
                            "no connection can be accepted: {error}; the process may have too few file descriptors"
                        );
                    }
                    tokio::time::sleep(PAUSE_AFTER_REFUSAL).await;
                }
            }
        }
    }

    /// The first thread while it has few connections, because it is nearest to the registry; then the one that has the
    /// fewest.
    fn inlet(&self) -> &Inlet {
        let open = self.inlets.iter().map(Inlet::open);
        &self.inlets[chosen(open)]
    }
}

/// Which thread a connection goes to, by how many each of them has. There must be one.
fn chosen(open: impl Iterator<Item = usize>) -> usize {
    let beyond_few = open.map(|open| (open + 1).saturating_sub(FEW));
    beyond_few.enumerate().min_by_key(|(_, open)| *open).map_or(0, |(index, _)| index)
}

/// Whether the error is that a connection ended before it was accepted; the next one may be fine.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thread_gets_a_few_the_first_one_first_and_then_the_least_busy_gets_more() {
        for (open, expected) in [
            (vec![0], 0),
            (vec![5000], 0),
            (vec![0, 0], 0),
            (vec![FEW - 1, 0], 0),
            (vec![FEW, 0, 0], 1),
            (vec![FEW, FEW - 1, 0], 1),
            (vec![FEW - 1, FEW, 0], 0),
            (vec![FEW, FEW, FEW], 0),
            (vec![FEW + 9, FEW + 7, FEW + 8], 1),
        ] {
            assert_eq!(chosen(open.iter().copied()), expected, "{open:?}");
        }
    }
}
