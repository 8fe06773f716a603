//! The members of a JSON object, found without reading their values (RFC 8259).
//!
//! A conversation's body is a few members around one that is nearly all of it. That one is not parsed but passed over, by
//! looking for the end of each text and counting brackets, several times as fast as a parser. Of JSON this finds what a parser
//! finds. Of anything else it may find members too: whether a value is one, its reader sees.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr;

/// What some editors and libraries write before a text in UTF-8.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A member of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Where its name stands, quotation marks included.
    pub name: Range<usize>,
    /// Where its value stands, without blanks around it.
    pub value: Range<usize>,
}

/// The bytes are no object, as far as can be seen from outside its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoObject;

/// Reads an object member by member. However deep it is nested, there is no recursion.
#[derive(Clone, Debug)]
pub struct Members<'a> {
    json: &'a [u8],
    at: usize,
    /// Whether a member has been read, so that another one needs a comma.
    is_begun: bool,
}

impl<'a> Members<'a> {
    /// The members of this object. A byte order mark before it is passed over, as many parsers do (RFC 8259, section 8.1).
    ///
    /// # Errors
    ///
    /// [`NoObject`] where it does not begin as one.
    pub fn of(json: &'a [u8]) -> Result<Self, NoObject> {
        let at = if json.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        let mut members = Self { json, at, is_begun: false };
        members.skip_blanks();
        members.expect(b'{')?;
        Ok(members)
    }

    /// The members of an object from one of them on; what stands before it is not there.
    pub const fn from_one_on(json: &'a [u8]) -> Self {
        Self { json, at: 0, is_begun: false }
    }

    /// The next member; none at the object's end, if nothing stands behind it.
    ///
    /// # Errors
    ///
    /// [`NoObject`].
    pub fn next_member(&mut self) -> Result<Option<Member>, NoObject> {
        self.skip_blanks();
        match self.peek() {
            Some(b'}') => {
                self.at += 1;
                self.skip_blanks();
                return if self.at == self.json.len() { Ok(None) } else { Err(NoObject) };
            }
            Some(b',') if self.is_begun => {
                self.at += 1;
                self.skip_blanks();
            }
            Some(_) if !self.is_begun => {}
            Some(_) | None => return Err(NoObject),
        }
        self.is_begun = true;
        let name = self.at;
        self.expect(b'"')?;
        self.skip_text()?;
        let name = name..self.at;
        self.skip_blanks();
        self.expect(b':')?;
        self.skip_blanks();
        let value = self.at;
        self.skip_value()?;
        Ok(Some(Member { name, value: value..self.at }))
    }

    fn peek(&self) -> Option<u8> {
        self.json.get(self.at).copied()
    }

    fn expect(&mut self, byte: u8) -> Result<(), NoObject> {
        if self.peek() != Some(byte) {
            return Err(NoObject);
        }
        self.at += 1;
        Ok(())
    }

    fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// From behind a text's first quotation mark to behind its last: the next one that an even number of backslashes, mostly
    /// none, stands before.
    fn skip_text(&mut self) -> Result<(), NoObject> {
        let begin = self.at;
        loop {
            let rest = self.json.get(self.at..).ok_or(NoObject)?;
            let quote = self.at + memchr(b'"', rest).ok_or(NoObject)?;
            self.at = quote + 1;
            let before = self.json.get(begin..quote).unwrap_or_default();
            let backslashes = before.iter().rev().take_while(|byte| **byte == b'\\').count();
            if backslashes % 2 == 0 {
                return Ok(());
            }
        }
    }

    fn skip_value(&mut self) -> Result<(), NoObject> {
        match self.peek().ok_or(NoObject)? {
            b'"' => {
                self.at += 1;
                self.skip_text()
            }
            b'{' | b'[' => self.skip_brackets(),
            _ => self.skip_word(),
        }
    }

    /// A number, `true`, `false` or `null`.
    fn skip_word(&mut self) -> Result<(), NoObject> {
        let begin = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')) {
            self.at += 1;
        }
        if self.at > begin { Ok(()) } else { Err(NoObject) }
    }

    /// From a bracket to behind the one that closes it.
    fn skip_brackets(&mut self) -> Result<(), NoObject> {
        let mut open = 0_usize;
        loop {
            let byte = self.peek().ok_or(NoObject)?;
            self.at += 1;
            match byte {
                b'"' => self.skip_text()?,
                b'{' | b'[' => open += 1,
                b'}' | b']' => {
                    open -= 1;
                    if open == 0 {
                        return Ok(());
                    }
                }
                _ => {}
            }
        }
    }
}

/// A member's name without its quotation marks and escapes: a letter can be written as an escape, however odd that is. One
/// that is no text is returned as it is written, with a backslash that no name has which is looked for.
#[must_use]
pub fn plain_name(written: &[u8]) -> Cow<'_, [u8]> {
    let inner = written.get(1..written.len().saturating_sub(1)).unwrap_or_default();
    if memchr(b'\\', inner).is_none() {
        return Cow::Borrowed(inner);
    }
    serde_json::from_slice(written).map_or(Cow::Borrowed(inner), |name: String| Cow::Owned(name.into_bytes()))
}

/// The value of this name in an object, as it is written; of several the last.
#[must_use]
pub fn value_of<'a>(object: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut members = Members::of(object).ok()?;
    let mut last = None;
    while let Some(member) = members.next_member().ok()? {
        if *plain_name(object.get(member.name)?) == *name {
            last = object.get(member.value);
        }
    }
    last
}

#[cfg(test)]
mod tests;
