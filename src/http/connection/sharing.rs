//! What a connection and the handlers of its requests share.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use tokio::time::Instant;

use super::super::alarm::Alarm;
use super::super::drain::Ear;
use super::super::intake::Held;
use super::super::times::deadline;
use super::ClientBounds;
use super::closing::Left;
use super::framing::{BodyEnd, Framing};

/// What is known of the next request's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// No head has come yet.
    First,
    /// A request is being answered, or nothing of the next head has come.
    None,
    /// The beginning of a later head has come.
    Torn,
}

/// How the connection is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// In an orderly way, announcing that no more comes.
    Close,
    /// By a reset, for an answer whose end would otherwise look like that of a whole one.
    Reset,
}

/// What the connection and the handlers of its requests share.
#[derive(Debug)]
pub(super) struct State {
    pub(super) head: Cell<Head>,
    /// When what is waited for now is overdue; computed when the wait begins.
    pub(super) due: Cell<Option<Instant>>,
    /// Wakes the connection when that is so.
    pub(super) alarm: Alarm,
    /// Whether `alarm` may have been set for later than the end of the next pause.
    pub(super) is_set_late: Cell<bool>,
    /// Wakes the request under way, and the writing of its answer.
    pub(super) alarm_of_request: Alarm,
    pub(super) ear: Ear,
    /// How many bytes of an incomplete head have come, and its share of the buffer budget.
    pub(super) head_length: Cell<u64>,
    pub(super) head_held: RefCell<Held>,
    pub(super) framing: RefCell<Framing>,
    /// Whether nothing more is read: the client has ended, or its head was given up.
    pub(super) is_read_out: Cell<bool>,
    /// The status with which the first head was given up.
    pub(super) given_up: Cell<Option<u16>>,
    /// Whether the request under way is the last one. What follows it must not be processed (RFC 9112, section 9.6), as
    /// nobody has promised to answer it.
    pub(super) is_last: Cell<bool>,
    /// The reader, woken when there may be more to read.
    pub(super) reader: RefCell<Option<Waker>>,
    pub(super) ending: Cell<Ending>,
    /// The connection's socket, once it is no longer served and only has to be closed.
    pub(super) left: RefCell<Option<Left>>,
    /// How often everything to be sent has been handed to the system.
    pub(super) flushes: Cell<u64>,
    pub(super) flushed: RefCell<Option<Waker>>,
}

impl State {
    /// The state of a connection that has just been accepted.
    pub(super) fn new(bounds: &ClientBounds) -> Self {
        Self {
            head: Cell::new(Head::First),
            due: Cell::new(Some(deadline(bounds.head))),
            alarm: Alarm::default(),
            is_set_late: Cell::new(false),
            alarm_of_request: Alarm::default(),
            ear: Ear::default(),
            head_length: Cell::new(0),
            head_held: RefCell::new(bounds.buffered.hold_nothing(bounds.together)),
            framing: RefCell::new(Framing::new()),
            is_read_out: Cell::new(false),
            given_up: Cell::new(None),
            is_last: Cell::new(false),
            reader: RefCell::new(None),
            ending: Cell::new(Ending::Close),
            left: RefCell::new(None),
            flushes: Cell::new(0),
            flushed: RefCell::new(None),
        }
    }

    /// Notes what is waited for from now on, with a new deadline.
    pub(super) fn awaits(&self, head: Head) {
        self.head.set(head);
        self.due.set(None);
    }

    /// Whether a request has come and is not fully answered.
    pub(super) fn is_under_way(&self) -> bool {
        self.framing.borrow().is_under_way()
    }

    /// Whether the last request is answered.
    pub(super) fn is_over(&self) -> bool {
        self.is_last.get() && !self.is_under_way()
    }

    /// Whether anything has come, or is still to come, beyond the requests that were taken in whole.
    pub(super) fn is_being_sent_to(&self) -> bool {
        let framing = self.framing.borrow();
        framing.has_more() || framing.is_torn()
    }

    /// Remembers the reader to wake; it is nearly always the same one.
    pub(super) fn read_by(&self, waker: &Waker) {
        let mut reader = self.reader.borrow_mut();
        if !reader.as_ref().is_some_and(|reader| reader.will_wake(waker)) {
            *reader = Some(waker.clone());
        }
    }

    pub(super) fn wake_reader(&self) {
        let reader = self.reader.borrow_mut().take();
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

/// A handler's access to the connection that its request came on.
#[derive(Clone, Debug)]
pub(in crate::http) struct Handle(pub(super) Rc<State>);

impl Handle {
    /// Notes that a request's head has come.
    pub(super) fn begin(&self, end: BodyEnd) -> UnderWay {
        let state = &self.0;
        if state.is_set_late.replace(false) {
            state.alarm.clear();
        }
        state.awaits(Head::None);
        state.head_length.set(0);
        let head = state.head_held.borrow_mut().taken();
        let mut framing = state.framing.borrow_mut();
        framing.begin(end);
        // Part of the body may have come with the head and been kept.
        if framing.has_more() && framing.is_torn() {
            state.wake_reader();
        }
        UnderWay { state: Rc::clone(state), _head: head }
    }

    /// The status with which the first head was given up, for which there was no request to count.
    pub(in crate::http) fn given_up(&self) -> Option<u16> {
        self.0.given_up.get()
    }

    /// What is left of the connection once it is no longer served, unless that closed it. Everything else it held is
    /// released.
    pub(in crate::http) fn left(self) -> Option<Left> {
        self.0.left.borrow_mut().take()
    }

    /// Waits until everything to be sent so far has been handed to the system.
    pub(super) async fn flushed(&self) {
        let before = self.0.flushes.get();
        poll_fn(|cx| {
            if self.0.flushes.get() > before {
                return Poll::Ready(());
            }
            *self.0.flushed.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// A request that is being answered, until this is dropped.
#[derive(Debug)]
pub(in crate::http) struct UnderWay {
    pub(super) state: Rc<State>,
    /// Its head's share of the buffer budget.
    _head: Option<Held>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let state = &self.state;
        let has_more = {
            let mut framing = state.framing.borrow_mut();
            framing.end();
            framing.has_more()
        };
        state.awaits(if has_more { Head::Torn } else { Head::None });
        // Usually the alarm of an earlier pause is still set, and the connection need not be polled now.
        if has_more || state.is_over() || !state.alarm.will_ring() {
            state.wake_reader();
        }
    }
}
