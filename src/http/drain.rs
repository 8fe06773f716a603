//! The end of a drain: the moment when whatever is still open has to end, shortly before it would be cut off.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::Notify;

use super::waking::Wakes;

/// How long before the end of the grace period open answers end by themselves.
const BEFORE_THE_END: Duration = Duration::from_secs(1);

/// Tells every open answer when its time is up.
#[derive(Clone, Debug, Default)]
pub struct DrainDeadline {
    passed: Arc<AtomicBool>,
    waiting: Arc<Notify>,
}

impl DrainDeadline {
    /// Declares the time up.
    pub fn pass(&self) {
        self.passed.store(true, Ordering::Release);
        self.waiting.notify_waiters();
    }

    pub(super) fn has_passed(&self) -> bool {
        self.passed.load(Ordering::Acquire)
    }

    /// Ready when the time is up. It notices that from its creation on, whenever it is first polled.
    fn wait(&self) -> impl Future<Output = ()> + use<> {
        let notified = Arc::clone(&self.waiting).notified_owned();
        let passed = Arc::clone(&self.passed);
        async move {
            if !passed.load(Ordering::Acquire) {
                notified.await;
            }
        }
    }
}

/// A connection's ear for the deadline; clones share one. Polling it again and again costs next to nothing.
#[derive(Clone, Default)]
pub(super) struct Ear(Rc<RefCell<Option<Wakes<dyn Future<Output = ()>>>>>);

impl Ear {
    /// Ready when the time is up.
    pub(super) fn poll_passed(&self, deadline: &DrainDeadline, cx: &mut Context<'_>) -> Poll<()> {
        if deadline.has_passed() {
            return Poll::Ready(());
        }
        let mut told = self.0.borrow_mut();
        let told = told.get_or_insert_with(|| Wakes::new(Box::pin(deadline.wait())));
        if told.will_wake(cx) { Poll::Pending } else { told.poll(cx) }
    }
}

impl fmt::Debug for Ear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ear").finish_non_exhaustive()
    }
}

/// How long after its beginning a drain's time is up: a second before the grace period ends, or halfway through a short
/// one.
#[must_use]
pub fn time_to_deadline(grace: Duration) -> Duration {
    grace.saturating_sub(BEFORE_THE_END).max(grace / 2)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Waker;

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

    #[actix_web::test]
    async fn an_ear_hears_of_it_once_it_has_been_asked_and_by_whom_it_was_asked_last() {
        let (deadline, ear) = (DrainDeadline::default(), Ear::default());
        let ask = |ear: Ear, deadline: DrainDeadline| async move {
            poll_fn(|cx| ear.poll_passed(&deadline, cx)).await;
        };
        let mut first = pin!(ask(ear.clone(), deadline.clone()));
        for _ in 0..2 {
            assert!(first.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        // Another task, which nothing else wakes.
        let asking = actix_rt::spawn(ask(ear, deadline.clone()));
        tokio::task::yield_now().await;
        deadline.pass();
        asking.await.unwrap();
        first.await;
    }
}
