//! The spans that wait for a collector, in bounded number.

use std::collections::VecDeque;

use super::span::Span;

/// How many spans go out at a time.
pub const BATCH: usize = 512;
/// The most spans that wait.
const MOST: usize = 8 * BATCH;

/// Spans that wait, oldest first. If there is no room, the newest are lost, and counted.
#[derive(Clone, Debug, Default)]
pub struct Backlog {
    waiting: VecDeque<Span>,
    lost: u64,
}

impl Backlog {
    /// Adds a span.
    pub fn push(&mut self, span: Span) {
        if self.waiting.len() < MOST {
            self.waiting.push_back(span);
        } else {
            self.lost += 1;
        }
    }

    /// The next spans to go out.
    pub fn take_batch(&mut self) -> Vec<Span> {
        self.waiting.drain(..self.waiting.len().min(BATCH)).collect()
    }

    /// Puts back spans that did not get there, ahead of those that came since.
    pub fn give_back(&mut self, batch: Vec<Span>) {
        for span in batch.into_iter().rev() {
            self.waiting.push_front(span);
        }
        while self.waiting.len() > MOST {
            self.waiting.pop_back();
            self.lost += 1;
        }
    }

    /// Counts spans that a collector will never take.
    pub fn lose(&mut self, batch: &[Span]) {
        self.lost += u64::try_from(batch.len()).unwrap_or(u64::MAX);
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether a whole batch waits.
    pub fn has_a_batch(&self) -> bool {
        self.waiting.len() >= BATCH
    }

    /// How many spans have been lost so far.
    pub const fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Attributes, Kind, SpanId, TraceContext, TraceId};
    use super::*;
    use crate::domain::time::Moment;

    fn span(number: usize) -> Span {
        Span {
            context: TraceContext::root(TraceId::from_random(1), SpanId::from_random(1)),
            parent: None,
            kind: Kind::Client,
            name: number.to_string(),
            began: Moment::START,
            ended: Moment::START,
            attributes: Attributes::default(),
            error: None,
        }
    }

    fn names(spans: &[Span]) -> (String, String) {
        (spans.first().unwrap().name.clone(), spans.last().unwrap().name.clone())
    }

    #[test]
    fn the_oldest_go_first_and_the_newest_are_lost() {
        let mut backlog = Backlog::default();
        assert!(backlog.is_empty());
        for number in 0..MOST + 3 {
            backlog.push(span(number));
        }
        assert_eq!((backlog.lost(), backlog.has_a_batch()), (3, true));
        let batch = backlog.take_batch();
        assert_eq!(names(&batch), ("0".to_owned(), (BATCH - 1).to_string()));
        assert_eq!(names(&backlog.take_batch()), (BATCH.to_string(), (2 * BATCH - 1).to_string()));
    }

    #[test]
    fn what_comes_back_goes_first_again_and_makes_the_newest_give_way() {
        let mut backlog = Backlog::default();
        for number in 0..MOST {
            backlog.push(span(number));
        }
        let batch = backlog.take_batch();
        backlog.push(span(MOST));
        backlog.give_back(batch);
        assert_eq!(backlog.lost(), 1);
        assert_eq!(names(&backlog.take_batch()).0, "0");
        let mut last = String::new();
        while !backlog.is_empty() {
            last = names(&backlog.take_batch()).1;
        }
        assert_eq!(last, (MOST - 1).to_string());
        backlog.lose(&[span(0), span(1)]);
        assert_eq!(backlog.lost(), 3);
    }
}
