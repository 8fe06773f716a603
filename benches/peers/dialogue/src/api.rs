//! The APIs that are spoken.

use crate::{chat, client, upstream};

/// In which a request is asked and answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Api {
    /// Anthropic's Messages.
    Messages,
    /// OpenAI's Chat Completions.
    Chat,
}

/// What an upstream says.
pub struct Script {
    /// A short answer.
    pub answer: &'static str,
    /// A stream's events before its first piece of content.
    pub opening: &'static [&'static str],
    /// A piece of content.
    pub delta: &'static str,
    /// The events behind the last piece of content. With the last of them a stream is whole.
    pub closing: &'static [&'static str],
}

static MESSAGES: Script = Script {
    answer: upstream::ANSWER,
    opening: &upstream::OPENING,
    delta: upstream::DELTA,
    closing: &upstream::CLOSING,
};

static CHAT: Script =
    Script { answer: chat::ANSWER, opening: &chat::OPENING, delta: chat::DELTA, closing: &chat::CLOSING };

impl Api {
    /// The path that requests go to.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Messages => "/v1/messages",
            Self::Chat => "/v1/chat/completions",
        }
    }

    /// What an upstream says.
    pub fn script(self) -> &'static Script {
        match self {
            Self::Messages => &MESSAGES,
            Self::Chat => &CHAT,
        }
    }

    /// A request's body of so many bytes, but for the least that it takes.
    pub fn body(self, length: usize, is_streamed: bool, has_session: bool) -> String {
        match self {
            Self::Messages => client::body(length, is_streamed, has_session),
            Self::Chat => chat::body(length, is_streamed, has_session),
        }
    }

    /// What stands before a session's number in a body.
    pub const fn session_mark(self) -> &'static str {
        match self {
            Self::Messages => client::SESSION_MARK,
            Self::Chat => chat::SESSION_MARK,
        }
    }
}

impl Script {
    /// With which a stream is whole.
    pub fn last(&self) -> &'static str {
        self.closing.last().copied().unwrap_or_default()
    }

    /// How many events a stream of so many pieces has.
    pub fn event_count(&self, deltas: usize) -> usize {
        self.opening.len() + deltas + self.closing.len()
    }

    /// How long a stream of so many pieces is, without its framing.
    pub fn stream_length(&self, deltas: usize) -> usize {
        let fixed: usize = self.opening.iter().chain(self.closing).map(|event| event.len()).sum();
        fixed + deltas * self.delta.len()
    }
}
