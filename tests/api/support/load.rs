//! Closed-loop load: so many workers, each with a kept connection, each sending its next request when the last is
//! answered.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;

use futures_util::future::join_all;

use super::raw_client::{Answer, Ended, RawClient};

/// What came of one request: the answer, or how the connection ended before the head of one.
pub(crate) type Outcome = Result<Answer, Ended>;

/// What came of all requests.
pub(crate) struct Load {
    /// By the request's index.
    pub(crate) outcomes: BTreeMap<usize, Outcome>,
}

/// Sends `total` requests, `concurrency` at a time: `exchange` is called once for every index below `total`, with a
/// connection that can be used. A connection that can't be used again is replaced.
pub(crate) async fn run(
    address: SocketAddr,
    total: usize,
    concurrency: usize,
    exchange: impl AsyncFn(usize, &mut RawClient) -> Outcome,
) -> Load {
    let next = Cell::new(0);
    let outcomes = RefCell::new(BTreeMap::new());
    let worker = async || {
        let mut kept = None;
        loop {
            let index = next.get();
            if index >= total {
                return;
            }
            next.set(index + 1);
            let mut client = match kept.take() {
                Some(client) => client,
                None => RawClient::connect(address).await,
            };
            let outcome = exchange(index, &mut client).await;
            let is_whole = outcome.as_ref().is_ok_and(|answer| answer.ended == Ended::Whole);
            kept = (is_whole && client.is_reusable()).then_some(client);
            outcomes.borrow_mut().insert(index, outcome);
        }
    };
    join_all((0..concurrency).map(|_| worker())).await;
    Load { outcomes: outcomes.into_inner() }
}

impl Load {
    /// How many answers had which status, whatever their end.
    pub(crate) fn statuses(&self) -> BTreeMap<u16, usize> {
        count(self.answers().map(|answer| answer.status))
    }

    /// How many answers came from which endpoint: by `x-qcc-endpoint`, else by the name that the scripted upstream gives
    /// itself in `x-upstream`. Answers with neither are the gateway's own, and are left out.
    pub(crate) fn endpoints(&self) -> BTreeMap<String, usize> {
        let of = |answer: &Answer| answer.header("x-qcc-endpoint").or(answer.header("x-upstream")).map(str::to_owned);
        count(self.answers().filter_map(of))
    }

    /// How many requests got no whole answer.
    pub(crate) fn broken(&self) -> usize {
        let is_whole = |outcome: &&Outcome| outcome.as_ref().is_ok_and(|answer| answer.ended == Ended::Whole);
        self.outcomes.len() - self.outcomes.values().filter(is_whole).count()
    }

    fn answers(&self) -> impl Iterator<Item = &Answer> {
        self.outcomes.values().filter_map(|outcome| outcome.as_ref().ok())
    }
}

fn count<K: Ord>(keys: impl Iterator<Item = K>) -> BTreeMap<K, usize> {
    let mut counts = BTreeMap::new();
    for key in keys {
        *counts.entry(key).or_default() += 1;
    }
    counts
}
