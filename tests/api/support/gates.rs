//! Named gates: a scripted step waits at one until the test opens it, and the test can await that somebody has come.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use tokio::sync::watch;

use super::eventually::within;

/// Gates by name, shared by a test and its upstreams. A gate exists from its first mention, closed; once opened it
/// stays open.
#[derive(Clone, Default)]
pub(crate) struct Gates(Rc<RefCell<HashMap<String, Gate>>>);

#[derive(Clone)]
struct Gate {
    open: watch::Sender<bool>,
    arrivals: watch::Sender<usize>,
}

impl Gates {
    /// Lets everyone through who waits at this gate or comes later.
    pub(crate) fn open(&self, name: &str) {
        self.gate(name).open.send_replace(true);
    }

    /// How many have come to this gate since the test began.
    pub(crate) fn arrived(&self, name: &str) -> usize {
        *self.gate(name).arrivals.borrow()
    }

    /// Waits until somebody has come to this gate.
    pub(crate) async fn reached(&self, name: &str) {
        self.reached_by(name, 1).await;
    }

    /// Waits until this many have come to this gate since the test began.
    pub(crate) async fn reached_by(&self, name: &str, count: usize) {
        let gate = self.gate(name);
        let mut arrivals = gate.arrivals.subscribe();
        let come = arrivals.wait_for(|arrived| *arrived >= count);
        assert!(within(&format!("{count} at the gate {name}"), come).await.is_ok(), "the gate {name} was torn down");
    }

    /// Comes to this gate and waits until it is open.
    pub(crate) async fn pass(&self, name: &str) {
        let gate = self.gate(name);
        let mut open = gate.open.subscribe();
        gate.arrivals.send_modify(|arrived| *arrived += 1);
        // The gate holds its own sender, so this can only end by an opening.
        let _opened = open.wait_for(|open| *open).await;
    }

    fn gate(&self, name: &str) -> Gate {
        let new = || Gate { open: watch::Sender::new(false), arrivals: watch::Sender::new(0) };
        self.0.borrow_mut().entry(name.to_owned()).or_insert_with(new).clone()
    }
}
