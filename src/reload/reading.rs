//! Looks at the settings beside everything else: a file may be a pipe that nobody writes to, or on a disk that hangs.

use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

/// Why there is no look at the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// No thread can be had.
    NoThread,
    /// It has ended without a word.
    Panicked,
    /// It takes too long. It may go on, and then is the one that hangs.
    TooSlow,
    /// An earlier one has not ended.
    Hangs,
}

/// One look at a time, each on a thread of its own.
#[derive(Debug, Default)]
pub(super) struct Readings {
    /// Gone once the latest one has ended.
    latest: Weak<()>,
}

impl Readings {
    /// Begins a look. It is waited for no longer than `limit`.
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

    /// Once wrong: a pipe that nobody wrote to held up every reload after it, also once the settings were sound again.
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
