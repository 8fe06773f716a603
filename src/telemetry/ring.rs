//! The latest log lines, within bounds.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt::Display;
use std::time::{SystemTime, UNIX_EPOCH};

use log::Level;
use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

/// How many lines are kept.
pub const MOST_LINES: usize = 2000;
/// How much text is kept in all, in bytes.
const MOST_BYTES: usize = 1 << 20;
/// The longest message that is kept, in bytes.
const LONGEST_MESSAGE: usize = 2 << 10;

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When.
    pub at: SystemTime,
    /// How grave.
    pub level: Level,
    /// The module that said it.
    pub target: Cow<'static, str>,
    /// What it said, its fields behind it.
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

/// A time of day as lines show it (RFC 3339). A clock that was never set may stand before 1970, which is no reason to panic.
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
    /// The latest so many of those that fit.
    pub lines: usize,
    /// As grave as this, or graver.
    pub level: Level,
    /// With this text in the message or the target, whatever its case; empty: any.
    pub grep: String,
}

impl Query {
    fn fits(&self, wanted: &str, line: &Line) -> bool {
        let holds = |text: &str| text.to_lowercase().contains(wanted);
        line.level <= self.level && (wanted.is_empty() || holds(&line.message) || holds(&line.target))
    }
}

/// The latest lines. Older ones give way.
#[derive(Clone, Debug, Default)]
pub(super) struct Ring {
    lines: VecDeque<Line>,
    bytes: usize,
}

impl Ring {
    /// Takes in a line.
    pub(super) fn push(&mut self, mut line: Line) {
        line.cut();
        self.bytes += line.weight();
        self.lines.push_back(line);
        while self.lines.len() > MOST_LINES || self.bytes > MOST_BYTES {
            let Some(oldest) = self.lines.pop_front() else { return };
            self.bytes -= oldest.weight();
        }
    }

    /// The lines that are wanted, newest last.
    pub(super) fn find(&self, query: &Query) -> Vec<Line> {
        let wanted = query.grep.to_lowercase();
        let fitting = self.lines.iter().rev().filter(|line| query.fits(&wanted, line));
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
        for number in 0..MOST_LINES + 5 {
            ring.push(line(Level::Info, "t", &number.to_string()));
        }
        let kept = found(&ring, usize::MAX, Level::Trace, "");
        assert_eq!((kept.len(), kept[0].as_str()), (MOST_LINES, "5"));
        let long = "x".repeat(LONGEST_MESSAGE);
        for _ in 0..MOST_LINES {
            ring.push(line(Level::Info, "t", &long));
        }
        let kept: usize = ring.lines.iter().map(Line::weight).sum();
        assert_eq!(kept, ring.bytes);
        assert!((MOST_BYTES - LONGEST_MESSAGE * 2..=MOST_BYTES).contains(&kept), "{kept}");
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let mut ring = Ring::default();
        ring.push(line(Level::Info, "t", &format!("x{}", "ä".repeat(LONGEST_MESSAGE))));
        let kept = &found(&ring, 1, Level::Trace, "")[0];
        assert!(kept.len() <= LONGEST_MESSAGE + '…'.len_utf8() && kept.ends_with("ä…"), "{}", kept.len());
    }
}
