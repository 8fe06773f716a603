//! Finds quotation marks, many bytes at a time. In a conversation one mostly stands within some dozens of bytes after the
//! last, so a search begun anew for each would take longer to begin than to search.

use wide::u8x16;

/// How many bytes are searched at once: as many as a mask has bits.
const BLOCK: usize = 64;

/// Finds the quotation marks of one piece of bytes, one after the other.
#[derive(Clone, Debug, Default)]
pub(super) struct QuotationMarks {
    /// The positions of the block's marks not taken yet; the lowest bit stands for its first byte.
    marks: u64,
    /// The end of the block under search; zero before the first.
    end: usize,
}

impl QuotationMarks {
    /// The position of the next mark; `piece` must always be the same.
    pub(super) fn next(&mut self, piece: &[u8]) -> Option<usize> {
        while self.marks == 0 {
            let rest = piece.get(self.end..).filter(|rest| !rest.is_empty())?;
            self.marks = rest.first_chunk().map_or_else(|| marks_of_last(rest), marks);
            self.end += BLOCK;
        }
        Some(self.end - BLOCK + self.marks.trailing_zeros() as usize)
    }

    /// Takes the mark that [`Self::next`] found.
    pub(super) fn take(&mut self) {
        self.marks &= self.marks.wrapping_sub(1);
    }
}

/// The marks of a last piece that is shorter than a block.
#[cold]
fn marks_of_last(rest: &[u8]) -> u64 {
    let mut block = [0; BLOCK];
    block.iter_mut().zip(rest).for_each(|(byte, last)| *byte = *last);
    marks(&block)
}

fn marks(block: &[u8; BLOCK]) -> u64 {
    let (parts, _) = block.as_chunks();
    let of_part = |part: &[u8; 16]| u64::from(u8x16::new(*part).simd_eq(u8x16::splat(b'"')).to_bitmask());
    parts.iter().rev().fold(0, |marks, part| marks << 16 | of_part(part))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_is_found_once_and_in_its_order(
            runs in prop::collection::vec((prop_oneof![0..4_usize, 60..68_usize, 0..300_usize], any::<bool>()), 0..20),
        ) {
            let run = |(length, quoted): (usize, bool)| format!("{}{}", "x".repeat(length), if quoted { "\"" } else { "" });
            let piece = runs.into_iter().map(run).collect::<String>();
            let mut quotes = QuotationMarks::default();
            for (expected, _) in piece.match_indices('"') {
                // However often it is asked for.
                prop_assert_eq!(quotes.next(piece.as_bytes()), Some(expected));
                prop_assert_eq!(quotes.next(piece.as_bytes()), Some(expected));
                quotes.take();
            }
            prop_assert_eq!(quotes.next(piece.as_bytes()), None);
        }
    }
}
