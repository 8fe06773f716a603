//! The members of a JSON object, found without reading their values (RFC 8259).
//!
//! A conversation's body is a few members around one that is nearly all of it. That one is not parsed but skipped, by finding the
//! end of each string and counting brackets, several times as fast as a parser. In valid JSON this finds what a parser finds. In
//! anything else it may find members too: whether a value is valid is for its reader to check.

mod quotes;

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use memchr::memchr;
use quotes::QuotationMarks;

/// The mark that some editors and libraries write before text in UTF-8.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Strips the byte order mark that may precede JSON. Parsers may ignore one (RFC 8259, section 8.1), and those of
/// clients do.
#[must_use]
pub fn without_mark(json: &[u8]) -> &[u8] {
    json.strip_prefix(BYTE_ORDER_MARK).unwrap_or(json)
}

/// A member of an object.
#[derive(Clone, Copy, Debug)]
pub struct JsonMember<'a> {
    /// Its name, quotation marks included.
    pub name: Written<'a>,
    /// Its value, without surrounding blanks.
    pub value: Written<'a>,
}

/// The error for bytes that are not an object, as far as can be seen without reading values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoObject;

/// A position in bytes that may lie in several pieces.
#[derive(Clone, Copy, Debug)]
struct Cursor<'a> {
    /// The piece that it is in.
    piece: &'a [u8],
    at: usize,
    /// How many bytes the preceding pieces hold.
    before: usize,
    /// The pieces that follow.
    further: &'a [Bytes],
}

impl Cursor<'_> {
    const fn offset(&self) -> usize {
        self.before + self.at
    }

    /// The beginning of the next piece; `None` after the last.
    fn next_piece(&self) -> Option<Self> {
        let (next, further) = self.further.split_first()?;
        Some(Self { piece: next, at: 0, before: self.before + self.piece.len(), further })
    }
}

/// A name or a value as it is written.
#[derive(Clone, Copy, Debug)]
pub struct Written<'a> {
    begin: Cursor<'a>,
    length: usize,
}

impl<'a> Written<'a> {
    /// Its byte range in the whole.
    #[must_use]
    pub fn span(&self) -> Range<usize> {
        let begin = self.begin.offset();
        begin..begin + self.length
    }

    /// Its length in bytes.
    #[must_use]
    pub const fn length(&self) -> usize {
        self.length
    }

    /// Its first byte.
    #[must_use]
    pub fn first(&self) -> Option<u8> {
        self.beginning().first().copied()
    }

    /// Its bytes, if they lie in one piece: always the case if the whole object does.
    #[must_use]
    pub fn in_one(&self) -> Option<&'a [u8]> {
        Some(self.beginning()).filter(|beginning| beginning.len() == self.length)
    }

    /// Its bytes, copied together if they lie in several pieces.
    #[must_use]
    pub fn bytes(&self) -> Cow<'a, [u8]> {
        if let Some(bytes) = self.in_one() {
            return Cow::Borrowed(bytes);
        }
        let mut whole = Vec::with_capacity(self.length);
        whole.extend_from_slice(self.beginning());
        for piece in self.begin.further {
            let missing = self.length - whole.len();
            whole.extend_from_slice(piece.get(..missing).unwrap_or(piece));
            if whole.len() == self.length {
                break;
            }
        }
        Cow::Owned(whole)
    }

    /// The part that lies in the piece in which it begins.
    fn beginning(&self) -> &'a [u8] {
        let rest = self.begin.piece.get(self.begin.at..).unwrap_or_default();
        rest.get(..self.length).unwrap_or(rest)
    }
}

/// Reads an object member by member, without recursion however deeply it is nested.
#[derive(Clone, Debug)]
pub struct JsonMembers<'a> {
    /// How far it has been read.
    to: Cursor<'a>,
    /// The quotation marks of the current piece. Those before the current place are taken, and no others.
    quotes: QuotationMarks,
    /// Whether a member has been read, so that another one needs a comma.
    is_begun: bool,
}

impl<'a> JsonMembers<'a> {
    /// The members of this object. A byte order mark before it is skipped, as many parsers do (RFC 8259, section 8.1).
    ///
    /// # Errors
    ///
    /// [`NoObject`] if it does not begin as one.
    pub fn of(json: &'a [u8]) -> Result<Self, NoObject> {
        Self::in_pieces(json, &[])
    }

    /// The members of an object that lies in pieces; see [`Self::of`].
    ///
    /// # Errors
    ///
    /// [`NoObject`] if it does not begin as one.
    pub fn in_pieces(first: &'a [u8], further: &'a [Bytes]) -> Result<Self, NoObject> {
        let mut members = Self::from_cursor(Cursor { piece: first, at: 0, before: 0, further });
        if members.peek() == BYTE_ORDER_MARK.first().copied() {
            BYTE_ORDER_MARK.iter().try_for_each(|byte| members.expect(*byte))?;
        }
        members.skip_blanks();
        members.expect(b'{')?;
        Ok(members)
    }

    /// The members of an object whose beginning is cut off, from the one on with which `json` begins.
    #[must_use]
    pub fn from_one_on(json: &'a [u8]) -> Self {
        Self::from_cursor(Cursor { piece: json, at: 0, before: 0, further: &[] })
    }

    fn from_cursor(to: Cursor<'a>) -> Self {
        Self { to, quotes: QuotationMarks::default(), is_begun: false }
    }

    /// The next member; `None` at the object's end, if nothing follows it.
    ///
    /// # Errors
    ///
    /// [`NoObject`] if neither a member nor the end comes next.
    pub fn next_member(&mut self) -> Result<Option<JsonMember<'a>>, NoObject> {
        self.skip_blanks();
        match self.peek() {
            Some(b'}') => {
                self.to.at += 1;
                self.skip_blanks();
                return if self.peek().is_none() { Ok(None) } else { Err(NoObject) };
            }
            Some(b',') if self.is_begun => {
                self.to.at += 1;
                self.skip_blanks();
            }
            Some(_) if !self.is_begun => {}
            Some(_) | None => return Err(NoObject),
        }
        self.is_begun = true;
        let name = self.to;
        self.skip_text()?;
        let name = self.from(name);
        self.skip_blanks();
        self.expect(b':')?;
        self.skip_blanks();
        let value = self.to;
        self.skip_value()?;
        Ok(Some(JsonMember { name, value: self.from(value) }))
    }

    /// What is written from `begin` to the current place.
    fn from(&self, begin: Cursor<'a>) -> Written<'a> {
        Written { begin, length: self.to.offset() - begin.offset() }
    }

    fn peek(&mut self) -> Option<u8> {
        loop {
            if let Some(byte) = self.to.piece.get(self.to.at) {
                return Some(*byte);
            }
            self.next_piece()?;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), NoObject> {
        if self.peek() != Some(byte) {
            return Err(NoObject);
        }
        self.to.at += 1;
        Ok(())
    }

    fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.to.at += 1;
        }
    }

    /// Moves to the next piece; `None` after the last.
    #[cold]
    fn next_piece(&mut self) -> Option<()> {
        self.quotes = QuotationMarks::default();
        self.to = self.to.next_piece()?;
        Some(())
    }

    /// The next quotation mark of the current piece.
    fn next_quote(&mut self) -> Option<usize> {
        self.quotes.next(self.to.piece)
    }

    /// Moves past the quotation mark that was found.
    fn take_quote(&mut self, quote: usize) {
        self.quotes.take();
        self.to.at = quote + 1;
    }

    /// Skips a string, quotation marks included.
    fn skip_text(&mut self) -> Result<(), NoObject> {
        if self.peek() != Some(b'"') {
            return Err(NoObject);
        }
        let quote = self.next_quote().ok_or(NoObject)?;
        self.take_quote(quote);
        self.skip_rest_of_text()
    }

    /// Moves from after a string's first quotation mark to after its last: the next one that has an even number of backslashes,
    /// mostly none, before it.
    fn skip_rest_of_text(&mut self) -> Result<(), NoObject> {
        // Whether the first byte of the piece is escaped by the end of the piece before.
        let mut is_escaped = false;
        loop {
            let quote = self.next_quote();
            let before = self.to.piece.get(..quote.unwrap_or(self.to.piece.len())).unwrap_or_default();
            let is_next_escaped = ends_with_escape(before, is_escaped);
            let Some(quote) = quote else {
                is_escaped = is_next_escaped;
                self.next_piece().ok_or(NoObject)?;
                continue;
            };
            self.take_quote(quote);
            if !is_next_escaped {
                return Ok(());
            }
        }
    }

    fn skip_value(&mut self) -> Result<(), NoObject> {
        match self.peek().ok_or(NoObject)? {
            b'"' => self.skip_text(),
            b'{' | b'[' => self.skip_brackets(),
            _ => self.skip_word(),
        }
    }

    /// Skips a number, `true`, `false` or `null`.
    fn skip_word(&mut self) -> Result<(), NoObject> {
        let begin = self.to.offset();
        while self.peek().is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')) {
            self.to.at += 1;
        }
        if self.to.offset() > begin { Ok(()) } else { Err(NoObject) }
    }

    /// Moves from a bracket to after the one that closes it.
    fn skip_brackets(&mut self) -> Result<(), NoObject> {
        let mut open = 0_usize;
        loop {
            let quote = self.next_quote();
            let outside = self.to.piece.get(self.to.at..quote.unwrap_or(self.to.piece.len())).unwrap_or_default();
            for (passed, byte) in outside.iter().enumerate() {
                match byte {
                    b'{' | b'[' => open += 1,
                    b'}' | b']' => {
                        open -= 1;
                        if open == 0 {
                            self.to.at += passed + 1;
                            return Ok(());
                        }
                    }
                    _ => {}
                }
            }
            match quote {
                Some(quote) => {
                    self.take_quote(quote);
                    self.skip_rest_of_text()?;
                }
                None => self.next_piece().ok_or(NoObject)?,
            }
        }
    }
}

/// Whether the byte after these bytes is escaped. `is_escaped` says whether their first one is.
fn ends_with_escape(bytes: &[u8], is_escaped: bool) -> bool {
    let backslashes = bytes.iter().rev().take_while(|byte| **byte == b'\\').count();
    (backslashes % 2 == 1) != (is_escaped && backslashes == bytes.len())
}

/// A member's name without its quotation marks and escapes: a letter can be written as an escape, however odd. A name that
/// can't be unescaped is returned as written, with a backslash, so that it equals no name that is looked for.
#[must_use]
pub fn plain_name(written: &[u8]) -> Cow<'_, [u8]> {
    let inner = written.get(1..written.len().saturating_sub(1)).unwrap_or_default();
    if memchr(b'\\', inner).is_none() {
        return Cow::Borrowed(inner);
    }
    serde_json::from_slice(written).map_or(Cow::Borrowed(inner), |name: String| Cow::Owned(name.into_bytes()))
}

/// The value of this name in an object, as written; the last one if there are several.
#[must_use]
pub fn value_of<'a>(object: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut members = JsonMembers::of(object).ok()?;
    let mut last = None;
    while let Some(member) = members.next_member().ok()? {
        if *plain_name(member.name.in_one()?) == *name {
            last = member.value.in_one();
        }
    }
    last
}

#[cfg(test)]
mod tests;
