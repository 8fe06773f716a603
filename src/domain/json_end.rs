//! Tells whether a JSON object that comes in pieces has come to its end, without keeping any of it.

/// How much of an object has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JsonEnd {
    /// How many brackets are open.
    open: usize,
    has_begun: bool,
    is_in_text: bool,
    is_escaped: bool,
}

impl JsonEnd {
    /// Takes in the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        for &byte in piece {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' if self.is_in_text => self.is_escaped = true,
                b'"' => self.is_in_text = !self.is_in_text,
                _ if self.is_in_text => {}
                b'{' | b'[' => {
                    self.has_begun = true;
                    self.open = self.open.saturating_add(1);
                }
                b'}' | b']' => self.open = self.open.saturating_sub(1),
                _ => {}
            }
        }
    }

    /// Whether every bracket that was opened is closed again.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.has_begun && self.open == 0 && !self.is_in_text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_whole_at_its_last_bracket_and_not_before_however_it_is_cut() {
        let object = r#" {"a":"}\"]\\","b":[{"c":"{"},[]],"d":1} "#;
        let end = object.rfind('}').unwrap();
        for cut in 0..=object.len() {
            let mut pieces = JsonEnd::default();
            pieces.push(&object.as_bytes()[..cut]);
            assert_eq!(pieces.is_whole(), cut > end, "{}", &object[..cut]);
            pieces.push(&object.as_bytes()[cut..]);
            assert!(pieces.is_whole(), "{cut}");
        }
    }
}
