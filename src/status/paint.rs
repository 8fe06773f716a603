//! Lines of coloured text, cut to the available width.

use std::fmt::Write as _;

use anstyle::Style;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Whether colours are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// Plain text.
    Plain,
    /// By ANSI escape codes.
    Ansi,
}

/// How a picture should look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Whether colours are wanted.
    pub colour: Colour,
    /// How many columns there are; `None` for as many as it takes.
    pub width: Option<usize>,
}

/// A foreign text without its control characters: it can then neither move the cursor nor, by turning the direction of
/// writing (Unicode Standard Annex 9, section 2), displace its neighbours.
pub(super) fn harmless(text: &str) -> String {
    let is_harmless = |c: char| {
        let turns =
            matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        !c.is_control() && !turns
    };
    text.chars().map(|c| if is_harmless(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

/// A piece of text in one style.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    text: String,
    style: Style,
}

impl Piece {
    pub(super) fn new(text: &str, style: Style) -> Self {
        Self { text: harmless(text), style }
    }

    pub(super) fn width(&self) -> usize {
        self.text.width()
    }

    /// The piece padded with spaces to a width; `to_the_right` aligns it to the right.
    pub(super) fn padded(&self, width: usize, to_the_right: bool) -> Self {
        let spaces = " ".repeat(width.saturating_sub(self.width()));
        let text = if to_the_right { format!("{spaces}{}", self.text) } else { format!("{}{spaces}", self.text) };
        Self { text, style: self.style }
    }

    /// As much of the piece as fits, with a mark for what is missing.
    fn cut(&self, width: usize) -> Self {
        let mut left = width.saturating_sub(1);
        let fits = |c: &char| {
            let wide = c.width().unwrap_or_default();
            let fits = wide <= left;
            left = left.saturating_sub(wide);
            fits
        };
        let mut text: String = self.text.chars().take_while(fits).collect();
        text.extend((width > 0).then_some('…'));
        Self { text, style: self.style }
    }
}

/// Writes the pieces as one line, cut to the available width.
pub(super) fn write_line(picture: &mut String, pieces: &[Piece], look: Look) {
    let total: usize = pieces.iter().map(Piece::width).sum();
    let mut left = look.width.filter(|width| *width < total);
    for piece in pieces {
        let piece = match left {
            Some(0) => break,
            Some(room) if piece.width() >= room => {
                left = Some(0);
                piece.cut(room)
            }
            Some(room) => {
                left = Some(room - piece.width());
                piece.clone()
            }
            None => piece.clone(),
        };
        let Piece { text, style } = piece;
        // Writing to a String can't fail.
        let _ = match look.colour {
            Colour::Ansi if style != Style::new() => write!(picture, "{style}{text}{style:#}"),
            Colour::Ansi | Colour::Plain => write!(picture, "{text}"),
        };
    }
    picture.push('\n');
}

#[cfg(test)]
mod tests {
    use anstyle::AnsiColor;

    use super::*;

    fn line(texts: &[&str], colour: Colour, width: Option<usize>) -> String {
        let red = AnsiColor::Red.on_default();
        let pieces: Vec<Piece> = texts.iter().map(|text| Piece::new(text, red)).collect();
        let mut picture = String::new();
        write_line(&mut picture, &pieces, Look { colour, width });
        picture
    }

    #[test]
    fn a_line_is_cut_where_the_room_ends() {
        for (texts, width, expected) in [
            (&["abc", "def"][..], None, "abcdef\n"),
            (&["abc", "def"], Some(6), "abcdef\n"),
            (&["abc", "def"], Some(5), "abcd…\n"),
            (&["abc", "def"], Some(3), "ab…\n"),
            (&["abc", "def"], Some(1), "…\n"),
            (&["abc"], Some(0), "\n"),
            (&["无可用渠道"], Some(10), "无可用渠道\n"),
            (&["无可用渠道"], Some(9), "无可用渠…\n"),
            (&["无可用渠道"], Some(8), "无可用…\n"),
        ] {
            assert_eq!(line(texts, Colour::Plain, width), expected, "{texts:?} {width:?}");
        }
    }

    #[test]
    fn what_would_move_the_cursor_or_turn_the_writing_is_not_shown() {
        for (text, shown) in [("a\u{1b}[2Jb\n", "a\u{fffd}[2Jb\u{fffd}"), ("\u{202e}a\u{2069}", "\u{fffd}a\u{fffd}")] {
            assert_eq!(harmless(text), shown);
        }
        let harmless_as_it_is = "ä, 語, שלום, 👩‍👩";
        assert_eq!(harmless(harmless_as_it_is), harmless_as_it_is);
    }

    #[test]
    fn colours_end_where_they_should_and_take_no_room() {
        assert_eq!(line(&["abc"], Colour::Ansi, Some(3)), "\u{1b}[31mabc\u{1b}[0m\n");
        assert_eq!(line(&["abc"], Colour::Ansi, Some(2)), "\u{1b}[31ma…\u{1b}[0m\n");
    }

    #[test]
    fn what_came_from_elsewhere_moves_no_cursor() {
        assert_eq!(line(&["a\u{1b}[2Jb\r\n\u{9b}c"], Colour::Plain, None), "a\u{fffd}[2Jb\u{fffd}\u{fffd}\u{fffd}c\n");
    }
}
