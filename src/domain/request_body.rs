//! A request's body in the pieces in which it came. It is inspected, changed and sent without being copied together: by the time
//! a long body is complete it has left the CPU's caches, and each further copy would cost as much again.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Range;

use bytes::Bytes;

use super::members::{JsonMembers, NoObject};

/// A request's body. Clones share the bytes.
#[derive(Clone, Default)]
pub struct RequestBody {
    /// The first piece, usually all of the body.
    first: Bytes,
    /// None of these is empty.
    further: Vec<Bytes>,
    length: usize,
}

impl RequestBody {
    /// Its length in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Whether it is empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Its pieces, in order.
    pub fn pieces(&self) -> impl Iterator<Item = &Bytes> {
        std::iter::once(&self.first).chain(&self.further)
    }

    /// Its pieces, in order, as they are sent.
    pub fn into_pieces(self) -> impl Iterator<Item = Bytes> {
        std::iter::once(self.first).chain(self.further)
    }

    /// Its members, if it is a JSON object.
    ///
    /// # Errors
    ///
    /// [`NoObject`] if it does not begin as one.
    pub fn members(&self) -> Result<JsonMembers<'_>, NoObject> {
        JsonMembers::in_pieces(&self.first, &self.further)
    }

    /// Its bytes in one piece; copied together if it came in several.
    #[must_use]
    pub fn as_one(&self) -> Cow<'_, [u8]> {
        if self.further.is_empty() {
            return Cow::Borrowed(&self.first);
        }
        let mut all = Vec::with_capacity(self.length);
        self.pieces().for_each(|piece| all.extend_from_slice(piece));
        Cow::Owned(all)
    }

    /// Its bytes in one piece, as by [`Self::as_one`]; if it came in one, that is returned without a copy.
    #[must_use]
    pub fn into_one(self) -> Bytes {
        match self.as_one() {
            Cow::Owned(all) => all.into(),
            Cow::Borrowed(_) => self.first,
        }
    }

    /// The body with `new` in place of each of these spans, which are in the order of the body. Nothing that stays is copied.
    /// `None` if a span goes beyond the body's end, or begins before the end of the previous one.
    #[must_use]
    pub fn with_replaced(&self, spans: &[Range<usize>], new: &Bytes) -> Option<Self> {
        let (mut replaced, mut taken_to) = (Self::default(), 0);
        for span in spans {
            if span.start < taken_to || span.end < span.start || span.end > self.length {
                return None;
            }
            replaced.push_part(self, taken_to..span.start);
            replaced.push(new.clone());
            taken_to = span.end;
        }
        replaced.push_part(self, taken_to..self.length);
        Some(replaced)
    }

    /// Appends a piece.
    fn push(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        self.length += piece.len();
        if self.first.is_empty() {
            self.first = piece;
        } else {
            self.further.push(piece);
        }
    }

    /// Appends a part of another body.
    fn push_part(&mut self, body: &Self, part: Range<usize>) {
        let mut begin = 0;
        for piece in body.pieces() {
            let end = begin + piece.len();
            let (from, to) = (part.start.max(begin), part.end.min(end));
            if from < to {
                self.push(piece.slice(from - begin..to - begin));
            }
            begin = end;
        }
    }
}

impl fmt::Debug for RequestBody {
    /// Shows only the length, not what people say.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody").field("length", &self.length).finish_non_exhaustive()
    }
}

impl Hash for RequestBody {
    /// The same bytes have the same hash whatever pieces they came in, given a hasher that treats its input as one run of
    /// bytes, as the standard library's do.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_usize(self.length);
        self.pieces().for_each(|piece| state.write(piece));
    }
}

impl From<Bytes> for RequestBody {
    fn from(whole: Bytes) -> Self {
        let length = whole.len();
        Self { first: whole, further: Vec::new(), length }
    }
}

impl FromIterator<Bytes> for RequestBody {
    fn from_iter<I: IntoIterator<Item = Bytes>>(pieces: I) -> Self {
        let mut body = Self::default();
        pieces.into_iter().for_each(|piece| body.push(piece));
        body
    }
}

#[cfg(test)]
mod tests {
    use std::hash::DefaultHasher;

    use proptest::prelude::*;

    use super::*;

    /// A body cut into pieces of these lengths, and the rest.
    fn cut(text: &[u8], lengths: &[usize]) -> RequestBody {
        let mut rest = Bytes::copy_from_slice(text);
        let lengths = lengths.iter().copied().chain([text.len()]);
        lengths.map(|length| rest.split_to(length.min(rest.len()))).collect()
    }

    /// The hash by the standard library's hasher, but with a fixed key.
    fn hashed(body: &RequestBody) -> u64 {
        let mut hasher = DefaultHasher::new();
        body.hash(&mut hasher);
        hasher.finish()
    }

    #[test]
    fn what_came_in_one_piece_is_never_copied() {
        let whole = Bytes::from_static(b"whole");
        let body = RequestBody::from(whole.clone());
        assert!(matches!(body.as_one(), Cow::Borrowed(b"whole")));
        assert_eq!(body.into_one().as_ptr(), whole.as_ptr());
    }

    #[test]
    fn spans_that_are_not_of_the_body_replace_nothing() {
        let (body, new) = (cut(b"abcdef", &[2, 2]), Bytes::from_static(b"new"));
        for [first, second] in [[0..2, 4..7], [0..2, 7..8], [2..4, 3..5], [3..5, 0..1]] {
            assert!(body.with_replaced(&[first.clone(), second.clone()], &new).is_none(), "{first:?}, {second:?}");
        }
        let reversed = Range { start: 4, end: 2 };
        assert!(body.with_replaced(&[reversed, 4..5], &new).is_none());
    }

    #[test]
    fn its_debug_shows_nothing_of_what_was_said() {
        assert_eq!(format!("{:?}", cut(b"secret", &[3])), "RequestBody { length: 6, .. }");
    }

    proptest! {
        #[test]
        fn a_body_is_the_same_whatever_it_came_in(
            text in prop::collection::vec(any::<u8>(), 0..60),
            lengths in prop::collection::vec(0..20_usize, 0..6),
        ) {
            let body = cut(&text, &lengths);
            prop_assert_eq!(&*body.as_one(), &*text);
            prop_assert_eq!(hashed(&body), hashed(&RequestBody::from(Bytes::from(text.clone()))));
            prop_assert_eq!((body.len(), body.is_empty()), (text.len(), text.is_empty()));
            prop_assert!(body.further.iter().all(|piece| !piece.is_empty()));
            prop_assert_eq!(body.clone().into_pieces().collect::<Vec<_>>().concat(), text.clone());
            prop_assert_eq!(body.into_one(), text);
        }

        #[test]
        fn spans_are_replaced_and_nothing_else(
            parts in prop::collection::vec(("[a-z]{0,9}", "[A-Z]{1,9}"), 0..5),
            last in "[a-z]{0,9}",
            lengths in prop::collection::vec(0..20_usize, 0..6),
        ) {
            let (mut text, mut expected, mut spans) = (String::new(), String::new(), Vec::new());
            for (stays, goes) in &parts {
                text += stays;
                spans.push(text.len()..text.len() + goes.len());
                text += goes;
                expected = expected + stays + "<new>";
            }
            let replaced = cut((text + &last).as_bytes(), &lengths).with_replaced(&spans, &Bytes::from_static(b"<new>"));
            prop_assert_eq!(replaced.map(RequestBody::into_one), Some(Bytes::from(expected + &last)));
        }
    }
}
