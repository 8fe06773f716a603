//! Futures that are polled often and ready seldom.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::task::coop::unconstrained;

/// A future that remembers which task it wakes: while that is the polling one, it need not be polled.
#[derive(Debug)]
pub(super) struct Wakes<F: ?Sized> {
    future: Pin<Box<F>>,
    waker: Option<Waker>,
}

impl<F: Future + ?Sized> Wakes<F> {
    /// Wraps a future, which wakes nobody yet.
    pub(super) fn new(future: Pin<Box<F>>) -> Self {
        Self { future, waker: None }
    }

    /// Whether it will wake this task when it is ready.
    pub(super) fn will_wake(&self, cx: &Context<'_>) -> bool {
        self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()))
    }

    /// Polls it; from now on it wakes this task.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<F::Output> {
        if !self.will_wake(cx) {
            self.waker = Some(cx.waker().clone());
        }
        // Polled outside the task's budget: once that is used up, a timer would return without noting the waker, and yet
        // be taken to have noted it.
        pin!(unconstrained(self.future.as_mut())).poll(cx)
    }

    pub(super) fn get(&self) -> &F {
        &self.future
    }

    pub(super) fn get_mut(&mut self) -> Pin<&mut F> {
        self.future.as_mut()
    }
}

/// Uses up what a task may do in one turn, for tests.
#[cfg(test)]
pub(super) fn use_turn_up(cx: &mut Context<'_>) {
    while let Poll::Ready(turn) = tokio::task::coop::poll_proceed(cx) {
        turn.made_progress();
    }
}
