//! The members of a JSON object, found without reading their values (RFC 8259).
//!
//! A conversation's body is a few members around one that is nearly all of it. That one is not parsed but passed over, by
//! looking for the end of each text and counting brackets, several times as fast as a parser. Of JSON this finds what a parser
//! finds. Of anything else it may find members too: whether a value is one, its reader sees.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr;

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
    /// The members of this object.
    ///
    /// # Errors
    ///
    /// [`NoObject`] where it does not begin as one.
    pub fn of(json: &'a [u8]) -> Result<Self, NoObject> {
        let mut members = Self { json, at: 0, is_begun: false };
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
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::Value;
    use serde_json::value::RawValue;

    use super::*;

    fn members(json: &str) -> Result<Vec<(&str, &str)>, NoObject> {
        let mut members = Members::of(json.as_bytes())?;
        let mut all = Vec::new();
        while let Some(Member { name, value }) = members.next_member()? {
            all.push((&json[name], &json[value]));
        }
        Ok(all)
    }

    #[test]
    fn names_and_values_are_found_as_they_are_written() {
        for (json, expected) in [
            ("{}", vec![]),
            (" { } \n", vec![]),
            (r#"{"a":1}"#, vec![("\"a\"", "1")]),
            (" {\n\"a\" : -1.5e+3 ,\t\"b\":\r\nnull } ", vec![("\"a\"", "-1.5e+3"), ("\"b\"", "null")]),
            (r#"{"a":{"b":["}",{"c":"]"}]},"d":[]}"#, vec![("\"a\"", r#"{"b":["}",{"c":"]"}]}"#), ("\"d\"", "[]")]),
            (r#"{"a\"":"b\\","c":"\\\"}"}"#, vec![(r#""a\"""#, r#""b\\""#), ("\"c\"", r#""\\\"}""#)]),
            (r#"{"a":"","a":"x"}"#, vec![("\"a\"", "\"\""), ("\"a\"", "\"x\"")]),
        ] {
            assert_eq!(members(json), Ok(expected), "{json}");
        }
    }

    #[test]
    fn what_is_no_object_from_outside_is_told() {
        for json in [
            "",
            " ",
            "null",
            "[]",
            "\"a\"",
            "{",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1",
            "{\"a\":1,}",
            "{\"a\":1 2}",
            "{} x",
            "{\"a\":1}}",
            "{a:1}",
            "{\"a\":\"",
            "{\"a\":\"\\\"}",
            "{\"a\":[1}",
            "{\"a\":1 \"b\":2}",
        ] {
            assert_eq!(members(json), Err(NoObject), "{json}");
        }
    }

    #[test]
    fn a_name_is_what_its_escapes_stand_for() {
        for (written, plain) in [
            (r#""usage""#, "usage"),
            (r#""us\u0061ge""#, "usage"),
            (r#""\ud83d\ude00""#, "😀"),
            (r#""a\"b""#, "a\"b"),
            (r#""\ud800""#, r"\ud800"),
            (r#""""#, ""),
        ] {
            assert_eq!(*plain_name(written.as_bytes()), *plain.as_bytes(), "{written}");
        }
        assert_eq!(*plain_name(b"\"\xff\""), *b"\xff");
    }

    #[test]
    fn of_several_values_of_one_name_the_last_counts() {
        for (object, value) in [
            (r#"{"a":1}"#, Some("1")),
            (r#"{"a":1,"b":2,"\u0061":[3]}"#, Some("[3]")),
            (r#"{"b":{"a":1}}"#, None),
            (r#"{"a":1"#, None),
            ("1", None),
        ] {
            assert_eq!(value_of(object.as_bytes(), b"a"), value.map(str::as_bytes), "{object}");
        }
    }

    #[test]
    fn an_object_can_be_read_from_one_of_its_members_on() {
        let mut members = Members::from_one_on(b"\"a\":1,\"b\":2} ");
        for (name, value) in [(0..3, 4..5), (6..9, 10..11)] {
            assert_eq!(members.next_member(), Ok(Some(Member { name, value })));
        }
        assert_eq!(members.next_member(), Ok(None));
        assert_eq!(Members::from_one_on(b"\"a\"]").next_member(), Err(NoObject));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "[\"\\\\{}\\[\\],:]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            let name = "[\"\\\\{}a]{0,3}";
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((name, inner), 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_same_members_are_found_as_by_a_parser(json in any_json(), is_pretty in any::<bool>()) {
            let text = if is_pretty { format!("{json:#}") } else { json.to_string() };
            let parsed: Option<BTreeMap<String, &RawValue>> = serde_json::from_str(&text).ok();
            let found = members(&text).ok().map(|members| {
                let read = |(name, value): (&str, &str)| (serde_json::from_str(name).unwrap(), value.to_owned());
                members.into_iter().map(read).collect::<BTreeMap<String, String>>()
            });
            let parsed = parsed.map(|members| members.into_iter().map(|(name, value)| (name, value.get().to_owned())).collect());
            prop_assert_eq!(found, parsed);
        }

        #[test]
        fn nothing_makes_it_panic_or_go_on_for_ever(bytes in prop::collection::vec(prop::sample::select(b"{}[]\"\\,:1 a".to_vec()), 0..64)) {
            let Ok(mut members) = Members::of(&bytes) else { return Ok(()) };
            let mut before = 0;
            while let Ok(Some(Member { name, value })) = members.next_member() {
                prop_assert!(before < name.end && name.end < value.end && value.end <= bytes.len());
                before = value.end;
            }
        }
    }
}
