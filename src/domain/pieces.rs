//! Queues the pieces of a body such that many small ones cost hardly more than the bytes they hold.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// A piece smaller than this, in bytes, is joined to those that wait before it; a larger one is kept as it is. A slice keeps its
/// whole buffer alive, which may be 128 KiB, and a place in the queue costs memory too: a body in pieces of one byte would take
/// fifty times its length.
const JOINED: usize = 32 << 10;

/// The pieces that wait. None of them is empty.
#[derive(Clone, Debug, Default)]
pub struct Pieces {
    whole: VecDeque<Bytes>,
    /// Small pieces joined; it comes after all of `whole`.
    open: BytesMut,
    length: usize,
}

impl Pieces {
    /// How many bytes wait.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// What waits, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.whole.iter().map(AsRef::as_ref).chain([self.open.as_ref()])
    }

    /// The last byte that waits.
    pub fn last_byte(&self) -> Option<u8> {
        self.open.last().or_else(|| self.whole.back()?.last()).copied()
    }

    /// Appends a piece.
    pub fn push(&mut self, piece: Bytes) {
        self.length += piece.len();
        let is_alone = self.whole.is_empty() && self.open.is_empty();
        if piece.len() < JOINED && !is_alone {
            self.open.extend_from_slice(&piece);
            if self.open.len() >= JOINED {
                self.close();
            }
        } else if !piece.is_empty() {
            self.close();
            self.whole.push_back(piece);
        }
    }

    /// Takes the first piece.
    pub fn pop(&mut self) -> Option<Bytes> {
        if self.whole.is_empty() {
            self.close();
        }
        let piece = self.whole.pop_front()?;
        self.length -= piece.len();
        Some(piece)
    }

    /// All that waits, as one piece. A single piece is returned without a copy.
    #[must_use]
    pub fn into_one(mut self) -> Bytes {
        let length = self.length;
        let Some(first) = self.pop() else { return Bytes::new() };
        if first.len() == length {
            return first;
        }
        let mut all = BytesMut::with_capacity(length);
        all.extend_from_slice(&first);
        while let Some(piece) = self.pop() {
            all.extend_from_slice(&piece);
        }
        all.freeze()
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.whole.push_back(std::mem::take(&mut self.open).freeze());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Found with an upstream that sends its answer byte by byte: each byte had a place of its own in the queue.
    #[test]
    fn a_body_that_comes_byte_by_byte_waits_in_few_pieces() {
        let mut pieces = Pieces::default();
        for byte in std::iter::repeat_n(b"x", 1 << 20) {
            pieces.push(Bytes::from_static(byte));
        }
        assert_eq!(pieces.length(), 1 << 20);
        assert!(pieces.whole.len() < 300, "{}", pieces.whole.len());
    }

    #[test]
    fn a_piece_alone_and_a_large_one_are_not_copied() {
        let (small, large) = (Bytes::from_static(b"small"), Bytes::from(vec![0; JOINED + 1]));
        let mut pieces = Pieces::default();
        pieces.push(small.clone());
        pieces.push(large.clone());
        for piece in [small, large] {
            assert_eq!(pieces.pop().unwrap().as_ptr(), piece.as_ptr());
        }
        assert!(pieces.is_empty() && pieces.pop().is_none());
    }

    #[derive(Clone, Debug)]
    enum Act {
        Push(usize),
        Pop,
    }

    proptest! {
        #[test]
        fn what_was_pushed_comes_out_in_its_order(
            acts in prop::collection::vec(
                prop_oneof![
                    4 => prop_oneof![0..4_usize, JOINED - 2..JOINED + 3].prop_map(Act::Push),
                    1 => Just(Act::Pop)
                ],
                0..40,
            ),
        ) {
            let mut pieces = Pieces::default();
            let (mut pushed, mut popped) = (Vec::new(), Vec::new());
            for (number, act) in acts.into_iter().enumerate() {
                match act {
                    Act::Push(length) => {
                        let piece = vec![u8::try_from(number).unwrap(); length];
                        pushed.extend_from_slice(&piece);
                        pieces.push(Bytes::from(piece));
                    }
                    Act::Pop => popped.extend_from_slice(&pieces.pop().unwrap_or_default()),
                }
                prop_assert_eq!(pieces.length(), pushed.len() - popped.len());
                prop_assert_eq!(pieces.is_empty(), pieces.length() == 0);
                prop_assert_eq!(pieces.last_byte(), pushed.get(popped.len()..).and_then(|rest| rest.last().copied()));
            }
            popped.extend_from_slice(&pieces.into_one());
            prop_assert_eq!(popped, pushed);
        }
    }
}
