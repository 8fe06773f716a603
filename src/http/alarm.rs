//! A timer that is rarely reset.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

use super::times::present;
use super::waking::Wakes;
use crate::domain::time::respite;

/// Wakes a connection's task when something is overdue; clones share one timer.
///
/// It may ring early, and is then set again. Nearly everything waited for comes long before its deadline, so setting and
/// cancelling a timer for each wait would cost more than an occasional wake-up too many.
#[derive(Clone, Debug, Default)]
pub(super) struct Alarm(Rc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    set: RefCell<Option<Set>>,
    /// Nothing is overdue before this moment, because the process was held up.
    respite: Cell<Option<Instant>>,
}

/// An alarm that is set.
type Set = Wakes<Sleep>;

impl Set {
    /// Whether it will ring for this task, at this moment at the latest.
    fn rings_for(&self, due: Instant, cx: &Context<'_>) -> bool {
        self.will_wake(cx) && self.get().deadline() <= due && !self.get().is_elapsed()
    }
}

/// The deadline has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overdue;

impl Alarm {
    /// Whether this moment has passed; if not, the alarm wakes the task to ask again.
    pub(super) fn has_passed(&self, due: Instant, cx: &mut Context<'_>) -> bool {
        let mut set = self.0.set.borrow_mut();
        let set = set.get_or_insert_with(|| Set::new(Box::pin(sleep_until(due))));
        if set.rings_for(due, cx) {
            return false;
        }
        if set.get().deadline() > due {
            set.get_mut().reset(due);
        }
        while set.poll(cx).is_ready() {
            if set.get().deadline() >= due {
                return true;
            }
            set.get_mut().reset(due);
        }
        false
    }

    /// Whether something that wakes this task when it comes is overdue: something an endpoint was asked for, or that a
    /// client is to send or take. If not, the alarm wakes the task to ask again. If the process itself was held up, the
    /// wait is extended once.
    pub(super) fn is_overdue(&self, due: Instant, cx: &mut Context<'_>) -> bool {
        let due = self.0.respite.get().map_or(due, |until| until.max(due));
        if !self.has_passed(due, cx) {
            return false;
        }
        let now = present();
        let Some(more) = respite(now.saturating_duration_since(due)) else { return true };
        self.0.respite.set(Some(now + more));
        self.has_passed(now + more, cx)
    }

    /// Waits for what an endpoint was asked for, until `due` at the latest.
    ///
    /// # Errors
    ///
    /// [`Overdue`] if it did not come in time.
    pub(super) async fn within<F: Future>(&self, due: Instant, mut future: Pin<&mut F>) -> Result<F::Output, Overdue> {
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending if self.is_overdue(due, cx) => Poll::Ready(Err(Overdue)),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Whether it is set and still to ring.
    pub(super) fn will_ring(&self) -> bool {
        self.0.set.borrow().as_ref().is_some_and(|set| !set.get().is_elapsed())
    }

    /// Cancels it.
    pub(super) fn clear(&self) {
        self.0.set.take();
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::pin::pin;
    use std::time::Duration;

    use super::super::waking::use_turn_up;
    use super::*;

    const SOON: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_hours(1);
    const LONG_ENOUGH: Duration = Duration::from_secs(10);

    async fn has_passed(alarm: &Alarm, due: Instant) -> bool {
        poll_fn(|cx| Poll::Ready(alarm.has_passed(due, cx))).await
    }

    async fn rings(alarm: &Alarm, due: Instant) {
        poll_fn(|cx| if alarm.has_passed(due, cx) { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    #[actix_web::test]
    async fn what_comes_in_time_is_had_and_what_does_not_is_overdue() {
        let alarm = Alarm::default();
        assert_eq!(alarm.within(present() + LONG, pin!(async { 7 })).await, Ok(7));
        let late = tokio::time::sleep(SOON);
        assert_eq!(alarm.within(present() + LONG, pin!(late)).await, Ok(()));
        let due = present() + SOON;
        assert_eq!(alarm.within(due, pin!(pending::<()>())).await, Err(Overdue));
        assert!(present() >= due);
    }

    #[actix_web::test]
    async fn it_rings_for_the_sooner_of_two_and_then_for_the_later() {
        let alarm = Alarm::default();
        for _ in 0..2 {
            let (sooner, later) = (present() + SOON, present() + SOON * 3);
            assert!(!has_passed(&alarm, later).await && !has_passed(&alarm, sooner).await);
            assert!(alarm.will_ring());
            rings(&alarm, sooner).await;
            assert!(present() >= sooner && !alarm.will_ring());
            rings(&alarm, later).await;
            assert!(present() >= later);
        }
    }

    #[actix_web::test]
    async fn it_rings_also_where_it_was_set_in_a_turn_that_was_used_up() {
        let alarm = Alarm::default();
        let due = present() + SOON;
        let mut is_first = true;
        let rung = poll_fn(|cx| {
            if std::mem::take(&mut is_first) {
                use_turn_up(cx);
            }
            if alarm.has_passed(due, cx) { Poll::Ready(()) } else { Poll::Pending }
        });
        tokio::time::timeout(LONG_ENOUGH, rung).await.expect("it rings");
    }

    /// A regression: an answer whose deadline its client keeps extending once got a respite with each of its pieces, and
    /// never ended.
    #[actix_web::test]
    async fn who_was_held_up_waits_once_more_also_where_the_time_moves_on() {
        const LATE: Duration = Duration::from_millis(600);
        let alarm = Alarm::default();
        let begun = present();
        let mut due = begun - LATE;
        let overdue = poll_fn(|cx| {
            due += Duration::from_nanos(1);
            if alarm.is_overdue(due, cx) { Poll::Ready(()) } else { Poll::Pending }
        });
        tokio::time::timeout(LONG_ENOUGH, overdue).await.expect("it is overdue");
        assert!(begun.elapsed() >= LATE);
    }

    #[actix_web::test]
    async fn who_waits_for_longer_than_it_is_set_for_is_not_let_down() {
        let alarm = Alarm::default();
        assert!(!has_passed(&alarm, present() + SOON).await);
        let due = present() + SOON * 3;
        assert_eq!(alarm.within(due, pin!(pending::<()>())).await, Err(Overdue));
        assert!(present() >= due);
        alarm.clear();
        assert!(!alarm.will_ring());
    }
}
