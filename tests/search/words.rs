//! Parts of what the cores show of themselves: found by the words around them, or left out.

use memchr::memmem::{find, find_iter};

/// What stands between these words.
pub(crate) fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let start = at(text, 0, from) + from.len();
    &text[start..at(text, start, to)]
}

/// Where this comes next. A core that shows itself in other words than these lists know is none that they are right for.
fn at(text: &str, from: usize, words: &str) -> usize {
    let found = find(&text.as_bytes()[from..], words.as_bytes());
    from + found.unwrap_or_else(|| panic!("{words:?} is not in {:?}", &text[from..]))
}

/// Leaves out what stands between the words of each pair, in the order in which they come.
pub(crate) fn without(text: &str, left_out: &[(&str, &str)]) -> String {
    let (mut kept, mut next) = (String::with_capacity(text.len()), 0);
    for (from, to) in left_out {
        let end = at(text, next, from) + from.len();
        kept.push_str(&text[next..end]);
        next = at(text, end, to);
    }
    kept.push_str(&text[next..]);
    kept
}

/// Leaves out the value of a field wherever it comes: a word or a number.
pub(crate) fn without_each(text: &str, field: &str) -> String {
    let (mut kept, mut next) = (String::with_capacity(text.len()), 0);
    for start in find_iter(text.as_bytes(), field) {
        kept.push_str(&text[next..start]);
        let value = memchr::memchr2(b',', b'}', &text.as_bytes()[start..]);
        next = value.map_or(text.len(), |length| start + length);
    }
    kept.push_str(&text[next..]);
    kept
}

/// Leaves out everything from these words to one of those, wherever they come.
pub(crate) fn without_all(text: &str, from: &str, to: &[&str]) -> String {
    let (mut kept, mut next) = (String::with_capacity(text.len()), 0);
    for start in find_iter(text.as_bytes(), from) {
        kept.push_str(&text[next..start]);
        let ends = to.iter().filter_map(|to| find(&text.as_bytes()[start..], to.as_bytes()));
        next = ends.min().map_or(text.len(), |length| start + length);
    }
    kept.push_str(&text[next..]);
    kept
}
