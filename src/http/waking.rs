//! Futures that are asked often and come seldom.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::task::coop::unconstrained;

/// A future that remembers whom it wakes: while that is whoever asks, it need not be polled.
#[derive(Debug)]
pub(super) struct Wakes<F: ?Sized> {
    future: Pin<Box<F>>,
    waker: Option<Waker>,
}

impl<F: Future + ?Sized> Wakes<F> {
    /// It wakes nobody yet.
    pub(super) fn new(future: Pin<Box<F>>) -> Self {
        Self { future, waker: None }
    }

    /// Whether it will wake this task when it comes.
    pub(super) fn will_wake(&self, cx: &Context<'_>) -> bool {
        self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()))
    }

    /// Polls it; from now on it wakes this task.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<F::Output> {
        if !self.will_wake(cx) {
            self.waker = Some(cx.waker().clone());
        }
        // Whatever the task has used of its turn: a timer that was asked in a turn that is used up would not know whom to wake,
        // and be taken to.
        pin!(unconstrained(self.future.as_mut())).poll(cx)
    }

    pub(super) fn get(&self) -> &F {
        &self.future
    }

    pub(super) fn get_mut(&mut self) -> Pin<&mut F> {
        self.future.as_mut()
    }
}

/// For tests: uses up what a task may do in one turn.
#[cfg(test)]
pub(super) fn use_turn_up(cx: &mut Context<'_>) {
    while let Poll::Ready(turn) = tokio::task::coop::poll_proceed(cx) {
        turn.made_progress();
    }
}
