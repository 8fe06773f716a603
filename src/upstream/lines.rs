//! The headers of a request that goes upstream.

use std::borrow::Cow;
use std::fmt;

use actix_web::http::header::{HeaderName, HeaderValue};

/// The headers of a request's head, line by line; those of a client are borrowed. They are few and hardly ever looked up,
/// so a list is faster than a map. Values of one name keep their order.
#[derive(Clone, Default)]
pub struct HeaderLines<'a>(Vec<HeaderLine<'a>>);

type HeaderLine<'a> = (Cow<'a, HeaderName>, Cow<'a, HeaderValue>);

impl<'a> HeaderLines<'a> {
    /// An empty list with room for this many lines.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    /// Adds a line, whatever other lines of the name there are.
    pub fn append(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.push((Cow::Owned(name), Cow::Owned(value)));
    }

    /// Adds a borrowed line.
    pub fn append_lent(&mut self, name: &'a HeaderName, value: &'a HeaderValue) {
        self.0.push((Cow::Borrowed(name), Cow::Borrowed(value)));
    }

    /// Adds a line in place of all others of the name.
    pub fn insert(&mut self, name: HeaderName, value: HeaderValue) {
        self.remove(&name);
        self.append(name, value);
    }

    /// Removes all lines of this name.
    pub fn remove(&mut self, name: &HeaderName) {
        self.0.retain(|(other, _)| **other != *name);
    }

    /// Whether there is a line of this name.
    #[must_use]
    pub fn contains(&self, name: &HeaderName) -> bool {
        self.0.iter().any(|(other, _)| **other == *name)
    }

    /// The lines in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }
}

impl FromIterator<(HeaderName, HeaderValue)> for HeaderLines<'_> {
    fn from_iter<I: IntoIterator<Item = (HeaderName, HeaderValue)>>(lines: I) -> Self {
        Self(lines.into_iter().map(|(name, value)| (Cow::Owned(name), Cow::Owned(value))).collect())
    }
}

impl fmt::Debug for HeaderLines<'_> {
    /// Without the values, which may be credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(of: &[(&'static str, &'static str)]) -> HeaderLines<'static> {
        let mut lines = HeaderLines::default();
        for (name, value) in of {
            lines.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        lines
    }

    fn shown(lines: &HeaderLines<'_>) -> Vec<String> {
        lines.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
    }

    #[test]
    fn a_line_that_is_inserted_takes_the_place_of_all_others_of_its_name() {
        let mut lines = lines(&[("a", "1"), ("b", "2"), ("a", "3")]);
        let a = HeaderName::from_static("a");
        assert_eq!(shown(&lines), ["a: 1", "b: 2", "a: 3"]);
        lines.insert(a.clone(), HeaderValue::from_static("4"));
        assert_eq!(shown(&lines), ["b: 2", "a: 4"]);
        assert!(lines.contains(&a));
        lines.remove(&a);
        assert!(!lines.contains(&a));
    }

    #[test]
    fn lines_that_are_lent_stand_among_the_others() {
        let (name, value) = (HeaderName::from_static("c"), HeaderValue::from_static("5"));
        let mut lines = lines(&[("a", "1")]);
        lines.append_lent(&name, &value);
        assert_eq!(shown(&lines), ["a: 1", "c: 5"]);
        lines.insert(name.clone(), HeaderValue::from_static("6"));
        assert_eq!(shown(&lines), ["a: 1", "c: 6"]);
    }

    #[test]
    fn the_debug_print_holds_no_value() {
        assert_eq!(format!("{:?}", lines(&[("authorization", "Bearer sk-1")])), r#"["authorization"]"#);
    }
}
