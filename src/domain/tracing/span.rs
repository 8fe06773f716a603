//! A span: one piece of work, from its beginning to its end.

use super::context::{SpanId, TraceContext};
use crate::domain::time::Moment;

/// The longest text of an attribute, in characters: a client may have made it up.
const LONGEST_TEXT: usize = 200;

/// On which side of a call a span was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It answered.
    Server,
    /// It asked.
    Client,
}

/// What an attribute says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Number(u64),
}

/// What is told of a span. What is not known is left out.
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
    /// Its name, and its trace's.
    pub context: TraceContext,
    /// The span that wanted it.
    pub parent: Option<SpanId>,
    /// On which side of a call it was.
    pub kind: Kind,
    /// What was done, in few words that many spans share.
    pub name: String,
    /// When it began.
    pub began: Moment,
    /// When it ended.
    pub ended: Moment,
    /// What is told of it.
    pub attributes: Attributes,
    /// What went wrong.
    pub error: Option<String>,
}
