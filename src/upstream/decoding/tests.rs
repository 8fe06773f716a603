use std::io::Write;

use bytes::Bytes;
use proptest::prelude::*;

use super::{Coding, DEFLATE_STEP, Decoded, Decoder, OTHER_STEP, STEP, STEPS_A_TURN, Undecodable};

fn deflated(coding: Coding, text: &[u8]) -> Vec<u8> {
    let level = flate2::Compression::default();
    match coding {
        Coding::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
        Coding::Deflate => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
        Coding::Zstd => zstd::encode_all(text, 3).unwrap(),
        // There is no encoder here: a metablock that is not compressed (RFC 7932, section 9.2), and the last, empty one.
        Coding::Brotli => {
            assert!((1..=1 << 16).contains(&text.len()));
            let header = (u32::try_from(text.len() - 1).unwrap() << 4) | (1 << 20);
            let mut bytes = header.to_le_bytes()[..3].to_vec();
            bytes.extend_from_slice(text);
            bytes.push(0x03);
            bytes
        }
    }
}

/// The next piece, after however many turns; `None` if more has to be fed first.
fn next_piece(decoder: &mut Decoder) -> Result<Option<Bytes>, Undecodable> {
    loop {
        match decoder.next_piece()? {
            Decoded::Piece(piece) => return Ok(Some(piece)),
            Decoded::Unfinished => {}
            Decoded::Hungry => return Ok(None),
        }
    }
}

fn decoded(coding: Coding, pieces: &[&[u8]]) -> Option<Vec<u8>> {
    let mut decoder = Decoder::new(coding).unwrap();
    let mut text = Vec::new();
    for piece in pieces {
        decoder.feed(Bytes::copy_from_slice(piece));
        while let Some(piece) = next_piece(&mut decoder).ok()? {
            assert!(!piece.is_empty() && piece.len() <= 1 << 20);
            text.extend_from_slice(&piece);
        }
        assert!(!decoder.has_more());
    }
    text.extend_from_slice(&decoder.finish().ok()?.unwrap_or_default());
    Some(text)
}

const CODINGS: [Coding; 4] = [Coding::Gzip, Coding::Deflate, Coding::Brotli, Coding::Zstd];

#[test]
fn every_coding_is_undone_and_a_torn_one_is_found_out() {
    let text = b"event: ping\ndata: {\"type\":\"ping\"}\n\n".repeat(100);
    for coding in CODINGS {
        let compressed = deflated(coding, &text);
        assert_eq!(decoded(coding, &[&compressed]).as_deref(), Some(&*text), "{coding:?}");
        for cut in 1..compressed.len() {
            assert_eq!(decoded(coding, &[&compressed[..cut]]), None, "{coding:?}, cut at {cut}");
        }
        assert_eq!(decoded(coding, &[b"{\"type\":\"error\"}"]), None, "{coding:?}");
        assert_eq!(decoded(coding, &[]), Some(Vec::new()), "{coding:?}");
    }
}

/// Found by reading: some encoders have windows of up to a gigabyte besides, and all of one is kept.
#[test]
fn brotli_has_no_larger_windows_than_its_rfc() {
    let mut decoder = Decoder::new(Coding::Brotli).unwrap();
    // The beginning of a stream with such a window, of 2^30 bytes.
    decoder.feed(Bytes::from_static(&[0x11, 0xde]));
    assert!(decoder.next_piece().is_err());
}

/// Found with bodies of 64 KiB: the step that filled the room was the last one of its frame.
#[test]
fn a_body_that_just_fills_a_step_is_whole() {
    for length in [STEP - 1, STEP, STEP + 1, 2 * STEP, 3 * STEP] {
        let text: Vec<u8> = (0..length).map(|at| b'a' + u8::try_from(at * at % 23).unwrap()).collect();
        for coding in [Coding::Gzip, Coding::Deflate, Coding::Zstd] {
            let compressed = deflated(coding, &text);
            assert_eq!(decoded(coding, &[&compressed]).as_ref(), Some(&text), "{coding:?} of {length}");
            let (first, second) = compressed.split_at(compressed.len() - 1);
            assert_eq!(decoded(coding, &[first, second]).as_ref(), Some(&text), "{coding:?} of {length} in two");
        }
        if length <= STEP {
            assert_eq!(decoded(Coding::Brotli, &[&deflated(Coding::Brotli, &text)]).as_ref(), Some(&text));
        }
    }
}

/// Found with streams that are flushed after each event: every piece kept the 64 KiB that it was decoded into.
#[test]
fn a_small_piece_keeps_no_large_room() {
    for coding in CODINGS {
        let mut decoder = Decoder::new(coding).unwrap();
        decoder.feed(Bytes::from(deflated(coding, b"event: ping")));
        let Some(piece) = next_piece(&mut decoder).unwrap().or_else(|| decoder.finish().unwrap()) else {
            panic!("nothing")
        };
        // A piece that nobody else holds becomes mutable with its whole capacity.
        let room = piece.try_into_mut().unwrap().capacity();
        assert!(room <= 1024, "{coding:?} keeps {room} bytes");
    }
}

#[test]
fn deflate_without_its_frame_and_gzip_of_two_members_are_read_too() {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(b"bare").unwrap();
    let bare = encoder.finish().unwrap();
    assert_eq!(decoded(Coding::Deflate, &[&bare]).unwrap(), b"bare");
    assert!((1..bare.len()).all(|cut| decoded(Coding::Deflate, &[&bare[..cut]]).is_none()));
    let twice = [deflated(Coding::Gzip, b"one "), deflated(Coding::Gzip, b"two")].concat();
    assert_eq!(decoded(Coding::Gzip, &[&twice]).unwrap(), b"one two");
}

/// An event must not wait for the next one within the decoder.
#[test]
fn what_the_sender_has_flushed_can_be_read_at_once() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(b"first").unwrap();
    gzip.flush().unwrap();
    let mut zstandard = zstd::Encoder::new(Vec::new(), 3).unwrap();
    zstandard.write_all(b"first").unwrap();
    zstandard.flush().unwrap();
    let mut brotli = deflated(Coding::Brotli, b"first");
    brotli.pop();
    for (coding, flushed) in
        [(Coding::Gzip, gzip.get_ref()), (Coding::Zstd, zstandard.get_ref()), (Coding::Brotli, &brotli)]
    {
        let mut decoder = Decoder::new(coding).unwrap();
        decoder.feed(Bytes::copy_from_slice(flushed));
        let mut text = Vec::new();
        while let Some(piece) = next_piece(&mut decoder).unwrap() {
            text.extend_from_slice(&piece);
        }
        assert_eq!(text, b"first", "{coding:?}");
    }
}

/// Found by a reader of the code: if only a little room was given, what was left over waited for the next piece.
#[test]
fn what_a_piece_stands_for_comes_before_the_next_one_however_much_it_is() {
    let text = vec![b'x'; 300_000];
    // For Brotli, the beginning of a text of nothing but `x`.
    let brotli = hex::decode("cbffff3ff825f0e2b14020f7fe8fffff7ff04b00c4611180eefd").unwrap();
    for (coding, body) in [
        (Coding::Gzip, deflated(Coding::Gzip, &text)),
        (Coding::Zstd, deflated(Coding::Zstd, &text)),
        (Coding::Brotli, brotli),
    ] {
        let mut decoder = Decoder::new(coding).unwrap();
        let mut length = 0;
        for part in body.chunks(8) {
            decoder.feed(Bytes::copy_from_slice(part));
            while let Some(piece) = next_piece(&mut decoder).unwrap() {
                assert!(piece.iter().all(|byte| *byte == b'x'));
                length += piece.len();
            }
        }
        assert!(length >= text.len() && (coding == Coding::Brotli || length == text.len()), "{coding:?}: {length}");
    }
}

#[test]
fn a_frame_is_not_lost_by_what_stands_behind_it() {
    let mut decoder = Decoder::new(Coding::Zstd).unwrap();
    decoder.feed(Bytes::from([deflated(Coding::Zstd, b"first"), b"stray".to_vec()].concat()));
    assert_eq!(next_piece(&mut decoder).unwrap().as_deref(), Some(&b"first"[..]));
    next_piece(&mut decoder).unwrap_err();
}

#[test]
fn a_bomb_comes_out_in_small_pieces() {
    let bomb = vec![0; 64 << 20];
    for coding in [Coding::Gzip, Coding::Deflate, Coding::Zstd] {
        let mut decoder = Decoder::new(coding).unwrap();
        decoder.feed(Bytes::from(deflated(coding, &bomb)));
        let first = next_piece(&mut decoder).unwrap().unwrap();
        assert!(first.len() <= 1 << 20, "{coding:?} gave {} bytes at once", first.len());
        assert!(decoder.has_more());
    }
}

/// A body of `parts` parts that decode to nothing, and a last one that decodes to the text.
fn mostly_nothing(coding: Coding, parts: usize, text: &[u8]) -> Vec<u8> {
    let (begin, part, end) = match coding {
        // Members, or frames, without content.
        Coding::Gzip | Coding::Zstd => (vec![], deflated(coding, b""), deflated(coding, text)),
        // Uncompressed blocks of no bytes (RFC 1951, section 3.2.4), after a frame's head and before the rest of it.
        Coding::Deflate => {
            let whole = deflated(coding, text);
            let (head, rest) = whole.split_at(2);
            (head.to_vec(), vec![0, 0, 0, 0xff, 0xff], rest.to_vec())
        }
        // Metablocks without data or metadata (RFC 7932, section 9.2), of which the first begins with the window's size. The text's
        // own begins with that where it is alone.
        Coding::Brotli => {
            let header = (u32::try_from(text.len() - 1).unwrap() << 3) | (1 << 19);
            (vec![0x0c], vec![0x06], [&header.to_le_bytes()[..3], text, &[0x03]].concat())
        }
    };
    [begin, part.repeat(parts), end].concat()
}

/// Found with 1,600,000 members of gzip without content: 31 MB that took 12 s in one go.
#[test]
fn a_turn_ends_after_some_steps_however_little_comes_of_them() {
    for coding in CODINGS {
        let body = Bytes::from(mostly_nothing(coding, 100_000, b"at last"));
        let step = if matches!(coding, Coding::Gzip | Coding::Deflate) { DEFLATE_STEP } else { OTHER_STEP };
        let mut decoder = Decoder::new(coding).unwrap();
        let (mut text, mut left) = (Vec::new(), body.len());
        decoder.feed(body);
        loop {
            let next = decoder.next_piece().unwrap();
            assert!(left - decoder.input.len() <= STEPS_A_TURN * step, "{coding:?}: too much in a turn");
            match next {
                Decoded::Piece(piece) => text.extend_from_slice(&piece),
                Decoded::Unfinished => left = decoder.input.len(),
                Decoded::Hungry => break,
            }
        }
        text.extend_from_slice(&decoder.finish().unwrap().unwrap_or_default());
        assert_eq!(text, b"at last", "{coding:?}");
    }
}

/// Each of them costs what a frame does, too.
#[test]
fn blocks_of_a_frame_that_stand_for_nothing_do_not_prolong_a_turn() {
    // Blocks that are not compressed, of no bytes; the last one says that it is (RFC 8878, section 3.1.1.2).
    let frame = [&[0x28, 0xb5, 0x2f, 0xfd, 0, 0][..], &[0, 0, 0].repeat(100_000), &[1, 0, 0]].concat();
    let length = frame.len();
    let mut decoder = Decoder::new(Coding::Zstd).unwrap();
    decoder.feed(frame.into());
    assert!(matches!(decoder.next_piece(), Ok(Decoded::Unfinished)));
    assert!(length - decoder.input.len() <= STEPS_A_TURN * OTHER_STEP);
    assert!(matches!(next_piece(&mut decoder), Ok(None)));
    assert!(matches!(decoder.finish(), Ok(None)));
}

#[test]
fn neither_crumbs_nor_pieces_of_a_byte_prolong_a_turn() {
    for (coding, text) in [(Coding::Gzip, ""), (Coding::Gzip, "x"), (Coding::Zstd, ""), (Coding::Zstd, "x")] {
        let crumb = Bytes::from(deflated(coding, text.as_bytes()));
        let turns = |others_have_theirs: bool| {
            let (mut decoder, mut turns) = (Decoder::new(coding).unwrap(), 0);
            for _ in 0..10 * STEPS_A_TURN {
                if others_have_theirs {
                    decoder.begin_turn();
                }
                decoder.feed(crumb.clone());
                loop {
                    match decoder.next_piece().unwrap() {
                        Decoded::Piece(piece) => assert_eq!(piece, text),
                        Decoded::Unfinished => turns += 1,
                        Decoded::Hungry => break,
                    }
                }
            }
            turns
        };
        assert_eq!((turns(false), turns(true)), (9, 0), "{coding:?} {text:?}");
    }
}

#[test]
fn codings_are_known_by_their_names() {
    for (name, coding) in [
        ("gzip", Some(Coding::Gzip)),
        ("GZIP", Some(Coding::Gzip)),
        ("x-gzip", Some(Coding::Gzip)),
        ("deflate", Some(Coding::Deflate)),
        ("br", Some(Coding::Brotli)),
        ("zstd", Some(Coding::Zstd)),
        ("identity", None),
        ("gzip, br", None),
        ("compress", None),
    ] {
        assert_eq!(Coding::named(name), coding, "{name}");
    }
}

proptest! {
    #[test]
    fn any_split_gives_the_same_bytes(
        text in prop::collection::vec(any::<u8>(), 1..2000),
        cuts in prop::collection::vec(0_usize..2000, 0..6),
    ) {
        for coding in CODINGS {
            let compressed = deflated(coding, &text);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| (*cut).min(compressed.len())).collect();
            cuts.extend([0, compressed.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|ends| &compressed[ends[0]..ends[1]]).collect();
            prop_assert_eq!(decoded(coding, &pieces), Some(text.clone()));
        }
    }

    #[test]
    fn nothing_that_comes_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for coding in CODINGS {
            let _ = decoded(coding, &[&bytes]);
        }
    }
}
