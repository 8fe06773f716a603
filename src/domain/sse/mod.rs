//! Event streams, from the upstream's bytes to what a client may see of them: the scanner finds and classifies the events,
//! the relay lets out only whole events, and a stream that ends too early gets an ending.
//!
//! Nothing here does I/O: bytes come in, bytes and verdicts go out. No stream is copied, except an event torn between two
//! pieces.

mod beginning;
mod conversion;
mod ending;
mod event;
mod json;
mod kind;
mod relay;
mod scanner;

pub use beginning::Beginning;
pub use conversion::as_events;
pub use ending::{Break, closing, error_event};
pub use kind::{Kind, StreamError};
pub use relay::{Ending, Failure, Relay};
pub use scanner::{Found, Progress, Scanner};

use super::route::LlmPath;

/// How a path's streams are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Anthropic's: named events from `message_start` to `message_stop`.
    Messages,
    /// OpenAI's chat chunks, without names, up to `[DONE]`.
    Chat,
    /// OpenAI's older completions: as chat chunks, with a different body.
    Completions,
    /// OpenAI's responses: named and numbered events up to `response.completed`, `failed` or `incomplete`.
    Responses,
}

impl Format {
    /// The format of a path. Paths without streams get their protocol's usual one.
    #[must_use]
    pub const fn of(path: LlmPath) -> Self {
        match path {
            LlmPath::Messages | LlmPath::CountTokens => Self::Messages,
            LlmPath::ChatCompletions => Self::Chat,
            LlmPath::Completions | LlmPath::Embeddings => Self::Completions,
            LlmPath::Responses => Self::Responses,
        }
    }

    /// Whether its answers have choices that each end on their own.
    const fn has_choices(self) -> bool {
        match self {
            Self::Chat | Self::Completions => true,
            Self::Messages | Self::Responses => false,
        }
    }
}

/// What a request expects of the answer's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The stream's format.
    pub format: Format,
    /// How many choices were asked for (`n`, for each prompt): all must be finished before the answer is.
    pub choices: u32,
}

impl Expected {
    /// An answer of one choice.
    #[must_use]
    pub const fn one(format: Format) -> Self {
        Self { format, choices: 1 }
    }
}

#[cfg(test)]
mod tests;
