//! The end of a drain: the moment at which what is still open has to come to its end, a little before it would be cut off.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// So long before the end of the grace open answers end by themselves.
const BEFORE_THE_END: Duration = Duration::from_secs(1);

/// Tells every open answer when its time is up.
#[derive(Clone, Debug, Default)]
pub struct DrainDeadline {
    passed: Arc<AtomicBool>,
    waiting: Arc<Notify>,
}

impl DrainDeadline {
    /// The time is up.
    pub fn pass(&self) {
        self.passed.store(true, Ordering::Release);
        self.waiting.notify_waiters();
    }

    pub(super) fn has_passed(&self) -> bool {
        self.passed.load(Ordering::Acquire)
    }

    /// Comes when the time is up. It hears of that from its making on, whenever it is first waited for.
    pub(super) fn wait(&self) -> impl Future<Output = ()> + use<> {
        let notified = Arc::clone(&self.waiting).notified_owned();
        let passed = Arc::clone(&self.passed);
        async move {
            if !passed.load(Ordering::Acquire) {
                notified.await;
            }
        }
    }
}

/// How long after its beginning a drain's time is up: a second before the grace ends, and halfway through a short one.
#[must_use]
pub fn time_to_deadline(grace: Duration) -> Duration {
    grace.saturating_sub(BEFORE_THE_END).max(grace / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_up_a_second_before_the_grace_ends() {
        for (grace, expected) in [(30_000, 29_000), (2_000, 1_000), (1_000, 500), (0, 0)] {
            assert_eq!(time_to_deadline(Duration::from_millis(grace)), Duration::from_millis(expected));
        }
    }

    #[actix_web::test]
    async fn who_waits_hears_of_it_however_late_it_looks() {
        let deadline = DrainDeadline::default();
        let early = deadline.wait();
        assert!(!deadline.has_passed());
        deadline.pass();
        early.await;
        deadline.wait().await;
        assert!(deadline.has_passed());
    }
}
