//! Read buffers, handed on from one connection of a thread to the next.
//!
//! Each of hundreds of streams reads a few hundred bytes at a time, and then waits. If each had a buffer of its own,
//! every event would go to memory that has long left the processor's caches.

use std::cell::Cell;

use bytes::BytesMut;

/// The size of a buffer that is handed on, in bytes.
pub(super) const SIZE: usize = 8 * 1024;

thread_local! {
    static SPARE: Cell<Option<BytesMut>> = const { Cell::new(None) };
}

/// The buffer that was given back last, or an empty one.
pub(super) fn take() -> BytesMut {
    SPARE.try_with(Cell::take).ok().flatten().unwrap_or_default()
}

/// Gives an empty buffer back. It is handed on if nobody holds a piece of it any more and it has the common size.
pub(super) fn give_back(mut room: BytesMut) {
    if room.capacity() > 0 && room.is_empty() && room.try_reclaim(SIZE) && room.capacity() < 2 * SIZE {
        // On a thread that is ending it is not kept.
        let _ = SPARE.try_with(|spare| spare.set(Some(room)));
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut;

    use super::*;

    #[test]
    fn room_is_handed_on_once_nobody_holds_a_piece_of_it() {
        let mut room = take();
        assert_eq!(room.capacity(), 0, "there was none before");
        room.reserve(SIZE);
        let place = room.as_ptr();
        room.put_slice(b"an event");
        drop(room.split().freeze());
        give_back(room);
        let mut room = take();
        assert_eq!((room.as_ptr(), room.is_empty()), (place, true));
        assert!(room.capacity() >= SIZE);
        room.put_slice(b"another");
        let held = room.split().freeze();
        give_back(room);
        assert_eq!(take().capacity(), 0);
        assert_eq!(held, "another");
    }

    #[test]
    fn larger_room_is_not_kept() {
        give_back(BytesMut::with_capacity(4 * SIZE));
        assert_eq!(take().capacity(), 0);
    }
}
