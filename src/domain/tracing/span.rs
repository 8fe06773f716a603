//! A span: one piece of work, from its beginning to its end.

use super::context::{SpanId, TraceContext};
use crate::domain::time::Moment;

/// The longest text of an attribute, in characters; a client may have made the text up.
const LONGEST_TEXT: usize = 200;

/// The side of a call that a span was on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It answered.
    Server,
    /// It asked.
    Client,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Number(u64),
}

/// The attributes of a span. Unknown values are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes(pub(super) Vec<(&'static str, Value)>);

impl Attributes {
    /// Adds a text.
    #[must_use]
    pub fn text(mut self, name: &'static str, text: Option<&str>) -> Self {
        let cut = |text: &str| Value::Text(text.chars().take(LONGEST_TEXT).collect());
        self.0.extend(text.map(|text| (name, cut(text))));
        self
    }

    /// Adds a number.
    #[must_use]
    pub fn number(mut self, name: &'static str, number: Option<u64>) -> Self {
        self.0.extend(number.map(|number| (name, Value::Number(number))));
        self
    }
}

/// One piece of work that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its id, and its trace's.
    pub context: TraceContext,
    /// The span that called for it.
    pub parent: Option<SpanId>,
    /// The side of a call that it was on.
    pub kind: Kind,
    /// What was done, in a few words that many spans share.
    pub name: String,
    /// When it began.
    pub began: Moment,
    /// When it ended.
    pub ended: Moment,
    /// Its attributes.
    pub attributes: Attributes,
    /// What went wrong.
    pub error: Option<String>,
}
