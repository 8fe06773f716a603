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
    /// None has come yet.
    First,
    /// A request is being answered, or nothing of the next head has come.
    None,
    /// The beginning of a later one has come.
    Torn,
}

/// How the connection is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// In order: it says that no more comes.
    Close,
    /// By a reset, for an answer whose end would otherwise look like that of a whole one.
    Reset,
}

/// What the connection and the handlers of its requests share.
#[derive(Debug)]
pub(super) struct State {
    pub(super) head: Cell<Head>,
    /// When what is waited for now is overdue; found out when it has to be waited for.
    pub(super) due: Cell<Option<Instant>>,
    /// What has the connection looked at again when that is so.
    pub(super) alarm: Alarm,
    /// Whether it may have been set for later than the end of the next pause.
    pub(super) is_set_late: Cell<bool>,
    /// What has the request under way looked at again, and what is to be written.
    pub(super) alarm_of_request: Alarm,
    pub(super) ear: Ear,
    /// How much has come of a head that is not there whole, and its share of what may be buffered.
    pub(super) head_length: Cell<u64>,
    pub(super) head_held: RefCell<Held>,
    pub(super) framing: RefCell<Framing>,
    /// Nothing more is read: the client is at its end, or its patience with it is.
    pub(super) is_read_out: Cell<bool>,
    /// The status by which its first head was given up.
    pub(super) given_up: Cell<Option<u16>>,
    /// Whether the request under way is the last one. What comes behind that must not be looked at (RFC 9112, section 9.6), for
    /// nobody has promised to answer it.
    pub(super) is_last: Cell<bool>,
    /// Who reads, to be told when that changes.
    pub(super) reader: RefCell<Option<Waker>>,
    pub(super) ending: Cell<Ending>,
    /// The connection itself, once it is served no more and only has to be closed.
    pub(super) left: RefCell<Option<Left>>,
    /// How often everything that was to be sent had been handed to the system.
    pub(super) flushes: Cell<u64>,
    pub(super) flushed: RefCell<Option<Waker>>,
}

impl State {
    /// That of a connection which has just been accepted.
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

    /// Something else is waited for from now on.
    pub(super) fn awaits(&self, head: Head) {
        self.head.set(head);
        self.due.set(None);
    }

    /// Whether a request has come and is not answered to its end.
    pub(super) fn is_under_way(&self) -> bool {
        self.framing.borrow().is_under_way()
    }

    /// Whether the last request is answered.
    pub(super) fn is_over(&self) -> bool {
        self.is_last.get() && !self.is_under_way()
    }

    /// Whether something has come, or is to come, that belongs to no request that was taken in whole.
    pub(super) fn is_being_sent_to(&self) -> bool {
        let framing = self.framing.borrow();
        framing.has_more() || framing.is_torn()
    }

    /// Whoever is to look for more; nearly always it is who did before.
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

/// What a handler can say to the connection that its request came on.
#[derive(Clone, Debug)]
pub(in crate::http) struct Handle(pub(super) Rc<State>);

impl Handle {
    /// A request's head has come.
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
        // What has come of its body with its head may have been kept.
        if framing.has_more() && framing.is_torn() {
            state.wake_reader();
        }
        UnderWay { state: Rc::clone(state), _head: head }
    }

    /// The status by which its first head was given up, for which there was no request to be counted.
    pub(in crate::http) fn given_up(&self) -> Option<u16> {
        self.0.given_up.get()
    }

    /// What is left of the connection once it is served no more, unless it was closed with that. All that it held is given up.
    pub(in crate::http) fn left(self) -> Option<Left> {
        self.0.left.borrow_mut().take()
    }

    /// Waits until all that was to be sent so far has been handed to the system.
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
    /// What its head has of what may be buffered.
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
        // Mostly the alarm of an earlier pause is set, and the connection need not be looked at now.
        if has_more || state.is_over() || !state.alarm.will_ring() {
            state.wake_reader();
        }
    }
}
