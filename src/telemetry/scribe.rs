//! The writer of the log: a thread that owns standard error and the ring of the latest lines.
//!
//! It is no actix actor, because the log runs before any actor system and after it. A thread that logs leaves a line and
//! goes on: standard error may be a pipe that nobody reads. If the scribe can't keep up, lines are lost and counted, and
//! nobody waits.
//!
//! Waking a thread costs more than writing a line. So the scribe, once awake, rests for a moment after each batch, and
//! meanwhile is woken only for pressing lines.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc as blocking;
use std::thread::{self, Thread};
use std::time::Duration;

use log::Level;
use serde_json::Map;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::ring::{Line, Query, Ring};
use super::writing::{Entry, Stamp, written};
use super::{NoLines, NotRunning};

/// How many lines may wait.
const WAITING: usize = 1 << 14;
/// How long a line may wait before it is written.
const REST: Duration = Duration::from_millis(10);
/// How long to wait for the last lines when the process is about to end, and for an answer when the latest ones are asked
/// for.
const FAREWELL: Duration = Duration::from_secs(1);

/// What the scribe is told.
enum Word {
    /// Write this down; `lost` lines were lost before it.
    Write { entry: Entry, lost: u64 },
    /// Find these lines.
    Find { query: Query, answer: oneshot::Sender<Vec<Line>> },
    /// Say when all of this is written.
    Flush(blocking::Sender<()>),
}

/// A handle to the scribe. Clones share it, and the count of lost lines.
#[derive(Clone, Debug)]
pub(super) struct Scribe {
    words: mpsc::Sender<Word>,
    /// Lost lines that the log does not mention yet.
    lost: Arc<AtomicU64>,
    lost_in_all: Arc<AtomicU64>,
    /// `None` if it could not be started.
    thread: Option<Thread>,
}

impl Scribe {
    /// A scribe that writes to standard error. It ends with the last of its clones.
    pub(super) fn start() -> Self {
        let (mut scribe, words) = Self::with_room_for(WAITING);
        let lost_in_all = Arc::clone(&scribe.lost_in_all);
        let spawned = thread::Builder::new().name("log-scribe".to_owned()).spawn(move || {
            Pen::new(words, lost_in_all, std::io::stderr()).work();
        });
        scribe.thread = spawned.ok().map(|handle| handle.thread().clone());
        scribe
    }

    fn with_room_for(waiting: usize) -> (Self, mpsc::Receiver<Word>) {
        let (words, heard) = mpsc::channel(waiting);
        (Self { words, lost: Arc::default(), lost_in_all: Arc::default(), thread: None }, heard)
    }

    /// How many lines were not written since the start: there was no room for them, or standard error did not take
    /// them.
    pub(super) fn lost_in_all(&self) -> u64 {
        self.lost_in_all.load(Ordering::Relaxed)
    }

    /// Leaves an entry. Never waits and never fails.
    pub(super) fn leave(&self, entry: Entry) {
        let is_pressing = entry.level <= Level::Warn;
        let lost = self.lost.swap(0, Ordering::Relaxed);
        match self.words.try_send(Word::Write { entry, lost }) {
            Ok(()) if is_pressing => self.hasten(),
            Ok(()) | Err(TrySendError::Closed(Word::Find { .. } | Word::Flush(_))) => {}
            Err(TrySendError::Full(_)) => {
                self.lost.fetch_add(lost + 1, Ordering::Relaxed);
                self.lost_in_all.fetch_add(1, Ordering::Relaxed);
            }
            // Without the thread, the log still goes on.
            Err(TrySendError::Closed(Word::Write { entry, .. })) => {
                let mut text = Vec::new();
                written(&entry, &mut Stamp::default(), &mut text);
                let _ = std::io::stderr().write_all(&text);
            }
        }
    }

    /// The lines that are wanted, after all that were left before are taken in.
    ///
    /// # Errors
    ///
    /// [`NoLines`].
    pub(super) async fn find(&self, query: Query) -> Result<Vec<Line>, NoLines> {
        let asked = async {
            let (answer, found) = oneshot::channel();
            self.words.send(Word::Find { query, answer }).await.ok()?;
            self.hasten();
            found.await.ok()
        };
        let found = tokio::time::timeout(FAREWELL, asked).await.map_err(|_| NoLines::Stuck)?;
        found.ok_or(NoLines::NotRunning(NotRunning))
    }

    /// Waits, but not for long, until everything left so far is written.
    pub(super) fn flush(&self) {
        let (tell, told) = blocking::channel();
        let mut flush = Word::Flush(tell);
        // If the queue is full, it waits for room.
        for _ in 0..FAREWELL.as_millis() {
            self.hasten();
            match self.words.try_send(flush) {
                Ok(()) => {
                    self.hasten();
                    let _ = told.recv_timeout(FAREWELL);
                    return;
                }
                Err(TrySendError::Full(again)) => flush = again,
                Err(TrySendError::Closed(_)) => return,
            }
            thread::park_timeout(Duration::from_millis(1));
        }
    }

    fn hasten(&self) {
        if let Some(thread) = &self.thread {
            thread.unpark();
        }
    }
}

/// The scribe's own side: what it owns in its thread.
struct Pen<W> {
    words: mpsc::Receiver<Word>,
    ring: Ring,
    stamp: Stamp,
    /// The text that is not written yet.
    text: Vec<u8>,
    lost_in_all: Arc<AtomicU64>,
    out: W,
}

impl<W: Write> Pen<W> {
    fn new(words: mpsc::Receiver<Word>, lost_in_all: Arc<AtomicU64>, out: W) -> Self {
        Self { words, ring: Ring::default(), stamp: Stamp::default(), text: Vec::new(), lost_in_all, out }
    }

    fn work(&mut self) {
        while let Some(word) = self.words.blocking_recv() {
            self.hear(word);
            while let Ok(word) = self.words.try_recv() {
                self.hear(word);
            }
            self.write();
            thread::park_timeout(REST);
        }
    }

    fn hear(&mut self, word: Word) {
        match word {
            Word::Write { entry, lost } => {
                if lost > 0 {
                    let message =
                        format!("{lost} log line(s) are missing here: they came faster than they could be written");
                    let target = module_path!().into();
                    // In the format of the entry before which they are missing.
                    let alone = |_| Map::from_iter([("message".to_owned(), message.clone().into())]);
                    let object = entry.object.as_ref().map(alone);
                    self.note(Entry { at: entry.at, level: Level::Warn, target, message, object });
                }
                self.note(entry);
            }
            // The asker may have left.
            Word::Find { query, answer } => drop(answer.send(self.ring.find(&query))),
            Word::Flush(done) => {
                self.write();
                let _ = done.send(());
            }
        }
        if self.text.len() >= LARGEST_WRITE {
            self.write();
        }
    }

    fn note(&mut self, entry: Entry) {
        written(&entry, &mut self.stamp, &mut self.text);
        let Entry { at, level, target, message, .. } = entry;
        self.ring.push(Line { at, level, target, message });
    }

    fn write(&mut self) {
        if self.text.is_empty() {
            return;
        }
        let (written, ended) = self.write_all();
        // The log can't report that it can't be written; the metrics can.
        if ended.and_then(|()| self.out.flush()).is_err() {
            let rest = self.text.get(written..).unwrap_or_default();
            let lines = memchr::memchr_iter(b'\n', rest).count();
            self.lost_in_all.fetch_add(u64::try_from(lines).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        self.text.clear();
    }

    /// Writes the text, even if there is no room at the moment: another process with the same standard error may have
    /// made it non-blocking. Returns how much was written, and how that ended.
    fn write_all(&mut self) -> (usize, io::Result<()>) {
        let mut written = 0;
        while let Some(rest) = self.text.get(written..).filter(|rest| !rest.is_empty()) {
            match self.out.write(rest) {
                Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
                Ok(length) => written += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::park_timeout(REST),
                Err(error) => return (written, Err(error)),
            }
        }
        (written, Ok(()))
    }
}

/// How much text is collected before it is written, in bytes.
const LARGEST_WRITE: usize = 1 << 16;

#[cfg(test)]
mod tests;
