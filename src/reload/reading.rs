//! Reads the settings on a separate thread: a file may be a pipe that nobody writes to, or on a disk that hangs.

use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

/// Why the settings were not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// No thread could be started.
    NoThread,
    /// The reading panicked.
    Panicked,
    /// It takes too long. It may go on, and is then the one that hangs.
    TooSlow,
    /// An earlier reading has not ended.
    Hangs,
}

/// Readings, one at a time, each on a thread of its own.
#[derive(Debug, Default)]
pub(super) struct Readings {
    /// Dead once the latest reading has ended.
    latest: Weak<()>,
}

impl Readings {
    /// Begins a reading, which is waited for no longer than `limit`.
    pub(super) fn begin<T: Send + 'static, Look: FnOnce() -> T + Send + 'static>(
        &mut self,
        look: Look,
        limit: Duration,
    ) -> impl Future<Output = Result<T, Unread>> + use<T, Look> {
        let begun = self.spawn(look);
        async move {
            match timeout(limit, begun?).await {
                Ok(Ok(found)) => Ok(found),
                Ok(Err(_)) => Err(Unread::Panicked),
                Err(_) => Err(Unread::TooSlow),
            }
        }
    }

    fn spawn<T: Send + 'static>(
        &mut self,
        look: impl FnOnce() -> T + Send + 'static,
    ) -> Result<oneshot::Receiver<T>, Unread> {
        if self.latest.strong_count() > 0 {
            return Err(Unread::Hangs);
        }
        let under_way = Arc::new(());
        self.latest = Arc::downgrade(&under_way);
        let (tell, told) = oneshot::channel();
        let begun = thread::Builder::new().name("settings".to_owned()).spawn(move || {
            let found = look();
            drop(under_way);
            drop(tell.send(found));
        });
        begun.map(|_| told).map_err(|_| Unread::NoThread)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    /// A regression: a pipe that nobody wrote to held up every later reload, even once the settings were sound again.
    #[actix_web::test]
    async fn a_look_that_does_not_end_is_given_up_and_the_next_one_begins_once_it_has() {
        let mut readings = Readings::default();
        let (open, gate) = mpsc::channel::<()>();
        let hanging = readings.begin(move || gate.recv(), Duration::from_millis(1));
        assert_eq!(hanging.await.unwrap_err(), Unread::TooSlow);
        assert_eq!(readings.begin(|| 1, LONG).await, Err(Unread::Hangs), "it takes no second thread");
        open.send(()).unwrap();
        while readings.latest.strong_count() > 0 {
            thread::yield_now();
        }
        assert_eq!(readings.begin(|| 2, LONG).await, Ok(2));
    }
}
