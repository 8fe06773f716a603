use std::time::SystemTime;

use serde_json::Value;

use super::*;

fn entry(message: &str) -> Entry {
    let (at, target) = (SystemTime::UNIX_EPOCH, "gateway".into());
    Entry { at, level: Level::Info, target, message: message.to_owned(), object: None }
}

fn everything() -> Query {
    Query { lines: usize::MAX, level: Level::Trace, grep: String::new() }
}

async fn messages(scribe: &Scribe) -> Vec<String> {
    scribe.find(everything()).await.unwrap().into_iter().map(|line| line.message).collect()
}

/// A pen in a thread of its own, which returns what it has written at the end.
fn work(words: mpsc::Receiver<Word>) -> thread::JoinHandle<String> {
    thread::spawn(|| {
        let mut pen = Pen::new(words, Arc::default(), Vec::new());
        pen.work();
        String::from_utf8(pen.out).unwrap()
    })
}

#[actix_web::test]
async fn what_was_left_before_is_found_and_is_written() {
    let (scribe, words) = Scribe::with_room_for(9);
    let pen = work(words);
    scribe.leave(entry("one"));
    scribe.clone().leave(entry("two"));
    assert_eq!(messages(&scribe).await, ["one", "two"]);
    drop(scribe);
    let expected = "1970-01-01T00:00:00.000Z INFO  one\n1970-01-01T00:00:00.000Z INFO  two\n";
    assert_eq!(pen.join().unwrap(), expected);
}

#[actix_web::test]
async fn who_logs_never_waits_and_what_is_lost_is_told() {
    let (scribe, words) = Scribe::with_room_for(2);
    for message in ["one", "two", "three", "four"] {
        scribe.leave(entry(message));
    }
    let pen = work(words);
    assert_eq!(messages(&scribe).await, ["one", "two"]);
    assert_eq!(scribe.lost_in_all(), 2);
    scribe.leave(entry("five"));
    let after = messages(&scribe).await;
    assert!(after[2].starts_with("2 log line(s) are missing"), "{after:?}");
    assert_eq!((after[3].as_str(), scribe.lost_in_all()), ("five", 2), "told once, and counted for good");
    drop(scribe);
    assert!(pen.join().unwrap().contains("2 log line(s) are missing"));
}

/// Takes three bytes, then says that there is no room, and so on.
#[derive(Default)]
struct Narrow {
    taken: Vec<u8>,
    is_full: bool,
}

impl Write for Narrow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.is_full = !self.is_full;
        if !self.is_full {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let taken = bytes.len().min(3);
        self.taken.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_line_is_written_whole_where_there_is_no_room_at_the_moment() {
    let (_scribe, words) = Scribe::with_room_for(1);
    let mut pen = Pen::new(words, Arc::default(), Narrow::default());
    pen.text = b"one line\n".to_vec();
    pen.write();
    assert_eq!((pen.out.taken, pen.text), (b"one line\n".to_vec(), Vec::new()));
    assert_eq!(pen.lost_in_all.load(Ordering::Relaxed), 0);
}

/// Has room for this many bytes.
struct Disk(usize);

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.0);
        self.0 -= taken;
        if taken > 0 { Ok(taken) } else { Err(io::ErrorKind::StorageFull.into()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn lines_that_standard_error_does_not_take_are_counted() {
    let (scribe, words) = Scribe::with_room_for(1);
    let mut pen = Pen::new(words, Arc::clone(&scribe.lost_in_all), Disk(6));
    for text in ["one\ntwo\nthree\n", "four\n"] {
        pen.text = text.as_bytes().to_vec();
        pen.write();
    }
    assert_eq!(scribe.lost_in_all(), 3, "the second is cut, the others are not there at all");
}

#[actix_web::test]
async fn without_a_scribe_nothing_is_found_and_nothing_hangs() {
    let (scribe, words) = Scribe::with_room_for(1);
    drop(words);
    scribe.leave(entry("one"));
    scribe.flush();
    assert_eq!(scribe.find(everything()).await, Err(NoLines::NotRunning(NotRunning)));
}

/// Standard error may be a pipe that nobody reads.
#[actix_web::test]
async fn who_asks_a_scribe_that_is_stuck_is_told_so() {
    let (scribe, _words) = Scribe::with_room_for(1);
    assert_eq!(scribe.find(everything()).await, Err(NoLines::Stuck));
}

#[test]
fn what_is_lost_is_told_in_json_where_the_log_is() {
    let (scribe, words) = Scribe::with_room_for(1);
    let in_json = |message: &str| Entry { object: Some(Map::new()), ..entry(message) };
    scribe.leave(in_json("one"));
    scribe.leave(in_json("two"));
    let pen = work(words);
    // `flush` waits for room, as at the end of a process.
    scribe.flush();
    scribe.leave(in_json("three"));
    drop(scribe);
    let written = pen.join().unwrap();
    let objects: Vec<Value> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects.len(), 3, "{written}");
    assert!(objects[1]["message"].as_str().unwrap().starts_with("1 log line(s) are missing"), "{written}");
}
