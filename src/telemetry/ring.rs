//! The latest log lines, within bounds.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt::Display;
use std::time::{SystemTime, UNIX_EPOCH};

use log::Level;
use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

/// How many lines are kept, whatever their level.
pub const MAX_LINES: usize = 2000;
/// How much text they hold in all, in bytes.
const MAX_BYTES: usize = 1 << 20;
/// How many grave lines are kept in addition, all older than those.
const MAX_GRAVE_LINES: usize = 500;
/// How much text the grave lines hold in all, in bytes.
const MAX_GRAVE_BYTES: usize = 1 << 18;
/// The longest message that is kept, in bytes.
const LONGEST_MESSAGE: usize = 2 << 10;

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When it was logged.
    pub at: SystemTime,
    /// How grave it is.
    pub level: Level,
    /// The module that logged it.
    pub target: Cow<'static, str>,
    /// The message, followed by its fields.
    pub message: String,
}

impl Serialize for Line {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut line = serializer.serialize_struct("Line", 4)?;
        line.serialize_field("at", &shown(self.at).to_string())?;
        line.serialize_field("level", self.level.as_str())?;
        line.serialize_field("target", &self.target)?;
        line.serialize_field("message", &self.message)?;
        line.end()
    }
}

/// A time of day as lines show it (RFC 3339). A clock that was never set may be before 1970, which is no reason to panic.
pub(super) fn shown(at: SystemTime) -> impl Display {
    humantime::format_rfc3339_millis(at.max(UNIX_EPOCH))
}

impl Line {
    fn weight(&self) -> usize {
        self.target.len() + self.message.len()
    }

    fn cut(&mut self) {
        if self.message.len() > LONGEST_MESSAGE {
            self.message.truncate(self.message.floor_char_boundary(LONGEST_MESSAGE));
            self.message.push('…');
        }
    }
}

/// Which lines are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The most lines wanted: the latest of those that fit.
    pub lines: usize,
    /// Only lines as grave as this, or graver.
    pub level: Level,
    /// Only lines with this text in the message or the target, whatever its case; empty for any.
    pub grep: String,
}

impl Query {
    fn fits(&self, wanted: &str, line: &Line) -> bool {
        let holds = |text: &str| text.to_lowercase().contains(wanted);
        line.level <= self.level && (wanted.is_empty() || holds(&line.message) || holds(&line.target))
    }
}

/// Lines in order, and their size.
#[derive(Clone, Debug, Default)]
struct Shelf {
    lines: VecDeque<Line>,
    bytes: usize,
}

impl Shelf {
    fn push(&mut self, line: Line) {
        self.bytes += line.weight();
        self.lines.push_back(line);
    }

    /// Removes the oldest line, if there are more than allowed.
    fn pop_beyond(&mut self, most_lines: usize, most_bytes: usize) -> Option<Line> {
        if self.lines.len() <= most_lines && self.bytes <= most_bytes {
            return None;
        }
        let oldest = self.lines.pop_front()?;
        self.bytes -= oldest.weight();
        Some(oldest)
    }
}

/// The latest lines. Older ones give way, but the grave among them later: anybody can fill a log with trivial lines, and
/// what an operator has to see must outlive that.
#[derive(Clone, Debug, Default)]
pub(super) struct Ring {
    latest: Shelf,
    /// Grave lines older than all of the latest, as they come from there. So no line is in both.
    grave: Shelf,
}

impl Ring {
    /// Adds a line.
    pub(super) fn push(&mut self, mut line: Line) {
        line.cut();
        self.latest.push(line);
        while let Some(oldest) = self.latest.pop_beyond(MAX_LINES, MAX_BYTES) {
            if oldest.level <= Level::Warn {
                self.grave.push(oldest);
            }
        }
        while self.grave.pop_beyond(MAX_GRAVE_LINES, MAX_GRAVE_BYTES).is_some() {}
    }

    /// The lines that are wanted, newest last.
    pub(super) fn find(&self, query: &Query) -> Vec<Line> {
        let wanted = query.grep.to_lowercase();
        let newest_first = self.latest.lines.iter().rev().chain(self.grave.lines.iter().rev());
        let fitting = newest_first.filter(|line| query.fits(&wanted, line));
        let mut found: Vec<Line> = fitting.take(query.lines).cloned().collect();
        found.reverse();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(level: Level, target: &str, message: &str) -> Line {
        Line { at: SystemTime::UNIX_EPOCH, level, target: target.to_owned().into(), message: message.to_owned() }
    }

    fn found(ring: &Ring, lines: usize, level: Level, grep: &str) -> Vec<String> {
        let query = Query { lines, level, grep: grep.to_owned() };
        ring.find(&query).into_iter().map(|line| line.message).collect()
    }

    #[test]
    fn the_latest_that_fit_are_found_newest_last() {
        let mut ring = Ring::default();
        for (level, target, message) in [
            (Level::Info, "a", "endpoint main recovered"),
            (Level::Warn, "a", "endpoint main isolated"),
            (Level::Debug, "b", "Endpoint spare standing=primary"),
            (Level::Error, "main", "LEAK"),
        ] {
            ring.push(line(level, target, message));
        }
        let all = ["endpoint main recovered", "endpoint main isolated", "Endpoint spare standing=primary", "LEAK"];
        assert_eq!(found(&ring, 100, Level::Trace, ""), all);
        assert_eq!(found(&ring, 2, Level::Trace, ""), all[2..]);
        assert_eq!(found(&ring, 100, Level::Warn, ""), [all[1], all[3]]);
        assert_eq!(found(&ring, 100, Level::Trace, "ENDPOINT"), all[..3]);
        assert_eq!(found(&ring, 100, Level::Trace, "main"), [all[0], all[1], all[3]], "the target counts too");
        assert_eq!(found(&ring, 100, Level::Trace, ".*"), [""; 0], "it is a text and no pattern");
    }

    #[test]
    fn older_lines_give_way_by_number_and_by_size() {
        let mut ring = Ring::default();
        for number in 0..MAX_LINES + 5 {
            ring.push(line(Level::Info, "t", &number.to_string()));
        }
        let kept = found(&ring, usize::MAX, Level::Trace, "");
        assert_eq!((kept.len(), kept[0].as_str()), (MAX_LINES, "5"));
        let long = "x".repeat(LONGEST_MESSAGE);
        for _ in 0..MAX_LINES {
            ring.push(line(Level::Info, "t", &long));
        }
        assert_holds_nearly(&ring.latest, MAX_BYTES);
        assert_eq!(ring.grave.lines.len(), 0, "none of them is grave");
    }

    fn assert_holds_nearly(shelf: &Shelf, most: usize) {
        let kept: usize = shelf.lines.iter().map(Line::weight).sum();
        assert_eq!(kept, shelf.bytes);
        assert!((most - LONGEST_MESSAGE * 2..=most).contains(&kept), "{kept}");
    }

    #[test]
    fn what_is_grave_outlives_a_flood_of_what_is_not() {
        let mut ring = Ring::default();
        for (level, message) in [(Level::Warn, "isolated"), (Level::Info, "recovered"), (Level::Error, "LEAK")] {
            ring.push(line(level, "t", message));
        }
        for number in 0..3 * MAX_LINES {
            ring.push(line(Level::Info, "t", &number.to_string()));
        }
        ring.push(line(Level::Warn, "t", "reload failed"));
        assert_eq!(found(&ring, 100, Level::Warn, ""), ["isolated", "LEAK", "reload failed"]);
        assert_eq!(found(&ring, 2, Level::Warn, ""), ["LEAK", "reload failed"], "the latest of them");
        assert_eq!(found(&ring, 100, Level::Error, ""), ["LEAK"]);
        assert_eq!(found(&ring, 100, Level::Trace, "isolated"), ["isolated"]);
        assert_eq!(found(&ring, 100, Level::Trace, "recovered"), [""; 0]);
        let all = found(&ring, usize::MAX, Level::Trace, "");
        assert_eq!((all.len(), &*all[1], &*all[MAX_LINES + 1]), (MAX_LINES + 2, "LEAK", "reload failed"));
    }

    #[test]
    fn each_grave_line_is_found_once_and_in_its_place() {
        let mut ring = Ring::default();
        let (mut expected, all) = (Vec::new(), MAX_LINES + 300);
        for number in 0..all {
            let level = if number % 9 == 0 { Level::Warn } else { Level::Info };
            ring.push(line(level, "t", &number.to_string()));
            if level == Level::Warn || number >= all - MAX_LINES {
                expected.push(number.to_string());
            }
        }
        assert_eq!(found(&ring, usize::MAX, Level::Trace, ""), expected);
    }

    #[test]
    fn grave_lines_are_bounded_too() {
        let mut ring = Ring::default();
        for number in 0..2 * MAX_LINES {
            ring.push(line(Level::Warn, "t", &number.to_string()));
        }
        let kept = found(&ring, usize::MAX, Level::Trace, "");
        let first = 2 * MAX_LINES - MAX_LINES - MAX_GRAVE_LINES;
        assert_eq!((kept.len(), &*kept[0]), (MAX_LINES + MAX_GRAVE_LINES, &*first.to_string()));
        let long = "x".repeat(LONGEST_MESSAGE);
        for _ in 0..2 * MAX_LINES {
            ring.push(line(Level::Error, "t", &long));
        }
        assert_holds_nearly(&ring.latest, MAX_BYTES);
        assert_holds_nearly(&ring.grave, MAX_GRAVE_BYTES);
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let mut ring = Ring::default();
        ring.push(line(Level::Info, "t", &format!("x{}", "ä".repeat(LONGEST_MESSAGE))));
        let kept = &found(&ring, 1, Level::Trace, "")[0];
        assert!(kept.len() <= LONGEST_MESSAGE + '…'.len_utf8() && kept.ends_with("ä…"), "{}", kept.len());
    }
}
