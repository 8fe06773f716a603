//! Who keeps the latest log lines: a thread that owns the ring and takes one word after another.
//!
//! It is no actix actor, because the log runs before any actor system does and after it, and outlives all of them. Whoever
//! logs leaves a line and goes on: where the keeper can't keep up, lines are lost and counted, and nobody waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use tokio::sync::{mpsc, oneshot};

use super::ring::{Line, Query, Ring};

/// How many lines may wait for the keeper.
const WAITING: usize = 1024;

/// What the keeper is told.
enum Word {
    /// Keep this line, before which so many were lost.
    Keep { line: Line, lost: u64 },
    /// Find these lines.
    Find { query: Query, answer: oneshot::Sender<Vec<Line>> },
}

/// The keeper's ear. Clones share it, and the count of what did not get in.
#[derive(Clone, Debug)]
pub(super) struct Keeper {
    words: mpsc::Sender<Word>,
    lost: Arc<AtomicU64>,
}

impl Keeper {
    /// A keeper with nothing to keep yet. It ends with the last of its clones.
    pub(super) fn start() -> Self {
        let (keeper, words) = Self::with_room_for(WAITING);
        // Without a thread nobody takes the lines, and asking for them is answered so; the log itself goes on.
        let _ = thread::Builder::new().name("log-keeper".to_owned()).spawn(move || keep(words));
        keeper
    }

    fn with_room_for(waiting: usize) -> (Self, mpsc::Receiver<Word>) {
        let (words, heard) = mpsc::channel(waiting);
        (Self { words, lost: Arc::default() }, heard)
    }

    /// Leaves a line. Never waits and never fails.
    pub(super) fn leave(&self, line: Line) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if self.words.try_send(Word::Keep { line, lost }).is_err() {
            self.lost.fetch_add(lost + 1, Ordering::Relaxed);
        }
    }

    /// The lines that are wanted, behind all that were left before; none where the keeper is gone.
    pub(super) async fn find(&self, query: Query) -> Option<Vec<Line>> {
        let (answer, found) = oneshot::channel();
        self.words.send(Word::Find { query, answer }).await.ok()?;
        found.await.ok()
    }
}

fn keep(mut words: mpsc::Receiver<Word>) {
    let mut ring = Ring::default();
    while let Some(word) = words.blocking_recv() {
        match word {
            Word::Keep { line, lost } => ring.push(line, lost),
            // Whoever asked may have left.
            Word::Find { query, answer } => drop(answer.send(ring.find(&query))),
        }
    }
}

#[cfg(test)]
mod tests {
    use log::Level;

    use super::*;

    fn line(message: &str) -> Line {
        let (at, target) = (String::new(), String::new());
        Line { at, level: Level::Info, target, message: message.to_owned() }
    }

    fn everything() -> Query {
        Query { lines: usize::MAX, level: Level::Trace, grep: String::new() }
    }

    #[actix_web::test]
    async fn what_was_left_before_is_found() {
        let keeper = Keeper::start();
        keeper.leave(line("one"));
        keeper.clone().leave(line("two"));
        assert_eq!(keeper.find(everything()).await.unwrap(), [line("one"), line("two")]);
    }

    #[actix_web::test]
    async fn who_logs_never_waits_and_what_is_lost_is_told() {
        let (keeper, heard) = Keeper::with_room_for(2);
        for message in ["one", "two", "three", "four"] {
            keeper.leave(line(message));
        }
        thread::spawn(move || keep(heard));
        let before: Vec<String> =
            keeper.find(everything()).await.unwrap().into_iter().map(|line| line.message).collect();
        assert_eq!(before, ["one", "two"]);
        keeper.leave(line("five"));
        let after = keeper.find(everything()).await.unwrap();
        assert!(after[2].message.starts_with("2 log line(s) are missing"), "{after:?}");
        assert_eq!(after[3].message, "five");
    }

    #[actix_web::test]
    async fn without_a_keeper_nothing_is_found_and_nothing_hangs() {
        let (keeper, heard) = Keeper::with_room_for(1);
        drop(heard);
        keeper.leave(line("one"));
        assert_eq!(keeper.find(everything()).await, None);
    }
}
