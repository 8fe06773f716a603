//! A test conversation as it goes over the wire: the request, in each dialect of the two protocols. Submodules read what an
//! answer says and costs, and choose the models to try.

mod answer;
mod models;
mod streamed;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::endpoint::Protocol;
use super::route::LlmPath;

pub use answer::{Answer, Tokens};
pub use models::ModelsToTry;
pub use streamed::{StreamEnd, StreamedAnswer};

/// How an answer is asked for, and how it comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Manner {
    /// In one piece.
    #[default]
    Whole,
    /// A stream is asked for, but a whole answer will do, as it does for traffic. Of a failure: no stream had begun.
    Either,
    /// As an event stream.
    Streamed,
}

impl Manner {
    /// How to ask again after a stream was refused. `None` if none was asked for, or if nothing else will do: then the model is
    /// unsuitable.
    #[must_use]
    pub fn after_refusal(self, status: u16, body: &[u8]) -> Option<Self> {
        match self {
            Self::Either => self.is_refused(status, body).then_some(Self::Whole),
            Self::Whole | Self::Streamed => None,
        }
    }

    /// Whether a stream was asked for and refused: some keys get a model's answers only in one piece.
    #[must_use]
    pub fn is_refused(self, status: u16, body: &[u8]) -> bool {
        match self {
            Self::Whole => false,
            Self::Either | Self::Streamed => is_refused("stream", status, body),
        }
    }
}

/// Whether a request was refused because of this member: by a 400 whose body names it.
fn is_refused(member: &str, status: u16, body: &[u8]) -> bool {
    status == 400 && String::from_utf8_lossy(body).contains(member)
}

/// How a request is worded. Endpoints accept different wordings, so a refused request is sent again in another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Messages with thinking switched off: some vendors think by default, at the operator's cost.
    AnthropicThinkingOff,
    /// Messages that do not mention thinking.
    AnthropicPlain,
    /// Chat completions with `max_tokens`.
    OpenAiMaxTokens,
    /// Chat completions with `max_completion_tokens`.
    OpenAiMaxCompletionTokens,
}

impl Dialect {
    /// The dialect to try first with an endpoint of this protocol.
    #[must_use]
    pub const fn first(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Anthropic => Self::AnthropicThinkingOff,
            Protocol::OpenAi => Self::OpenAiMaxTokens,
        }
    }

    /// The path to which a request in this dialect is sent.
    #[must_use]
    pub const fn path(self) -> LlmPath {
        match self {
            Self::AnthropicThinkingOff | Self::AnthropicPlain => LlmPath::Messages,
            Self::OpenAiMaxTokens | Self::OpenAiMaxCompletionTokens => LlmPath::ChatCompletions,
        }
    }

    /// The dialect to try after this one was refused by a 400 whose body names what the other dialect does without.
    #[must_use]
    pub fn after_refusal(self, status: u16, body: &[u8]) -> Option<Self> {
        let (refused, next) = match self {
            Self::AnthropicThinkingOff => ("thinking", Self::AnthropicPlain),
            Self::OpenAiMaxTokens => ("max_tokens", Self::OpenAiMaxCompletionTokens),
            Self::AnthropicPlain | Self::OpenAiMaxCompletionTokens => return None,
        };
        is_refused(refused, status, body).then_some(next)
    }
}

/// What a conversation asks.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The model, by the endpoint's name for it.
    pub model: &'a str,
    /// The bound on the answer's length, in tokens.
    pub max_tokens: u32,
    /// A system prompt.
    pub system: Option<&'a str>,
    /// The user's turn.
    pub prompt: &'a str,
    /// How the answer should come.
    pub manner: Manner,
}

impl Question<'_> {
    /// The request's JSON body.
    #[must_use]
    pub fn body(&self, dialect: Dialect) -> String {
        let Self { model, max_tokens, system, prompt, manner } = *self;
        let user = json!({"role": "user", "content": prompt});
        let mut body = match dialect {
            Dialect::AnthropicThinkingOff => {
                json!({"model": model, "max_tokens": max_tokens, "messages": [user], "thinking": {"type": "disabled"}})
            }
            Dialect::AnthropicPlain => json!({"model": model, "max_tokens": max_tokens, "messages": [user]}),
            Dialect::OpenAiMaxTokens => {
                json!({"model": model, "max_tokens": max_tokens, "messages": chat(system, user)})
            }
            Dialect::OpenAiMaxCompletionTokens => {
                json!({"model": model, "max_completion_tokens": max_tokens, "messages": chat(system, user)})
            }
        };
        let own_system = match dialect {
            Dialect::AnthropicThinkingOff | Dialect::AnthropicPlain => system,
            Dialect::OpenAiMaxTokens | Dialect::OpenAiMaxCompletionTokens => None,
        };
        let stream = match manner {
            Manner::Whole => None,
            Manner::Either | Manner::Streamed => Some(true),
        };
        let further = [("system", own_system.map(Value::from)), ("stream", stream.map(Value::from))];
        if let Some(members) = body.as_object_mut() {
            members.extend(further.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        }
        body.to_string()
    }
}

/// The turns of a chat; the system prompt, if any, is the first.
fn chat(system: Option<&str>, user: Value) -> Vec<Value> {
    system.map(|system| json!({"role": "system", "content": system})).into_iter().chain([user]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(system: Option<&str>) -> Question<'_> {
        Question { model: "m", max_tokens: 64, system, prompt: "p", manner: Manner::Whole }
    }

    #[test]
    fn every_dialect_has_its_own_body() {
        for (dialect, system, body) in [
            (
                Dialect::AnthropicThinkingOff,
                Some("s"),
                json!({"model": "m", "max_tokens": 64, "system": "s", "thinking": {"type": "disabled"},
                    "messages": [{"role": "user", "content": "p"}]}),
            ),
            (
                Dialect::AnthropicPlain,
                None,
                json!({"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": "p"}]}),
            ),
            (
                Dialect::OpenAiMaxTokens,
                Some("s"),
                json!({"model": "m", "max_tokens": 64,
                    "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "p"}]}),
            ),
            (
                Dialect::OpenAiMaxCompletionTokens,
                None,
                json!({"model": "m", "max_completion_tokens": 64, "messages": [{"role": "user", "content": "p"}]}),
            ),
        ] {
            let written: Value = serde_json::from_str(&question(system).body(dialect)).unwrap();
            assert_eq!(written, body, "{dialect:?}");
        }
    }

    #[test]
    fn a_streamed_answer_is_asked_for_in_every_dialect() {
        use Dialect as D;
        for dialect in [D::AnthropicThinkingOff, D::AnthropicPlain, D::OpenAiMaxTokens, D::OpenAiMaxCompletionTokens] {
            let whole = question(Some("s"));
            let streamed = Question { manner: Manner::Streamed, ..whole };
            let mut expected: Value = serde_json::from_str(&whole.body(dialect)).unwrap();
            expected["stream"] = json!(true);
            let written: Value = serde_json::from_str(&streamed.body(dialect)).unwrap();
            assert_eq!(written, expected, "{dialect:?}");
        }
    }

    #[test]
    fn a_refused_dialect_is_followed_by_the_one_without_what_was_refused() {
        use Dialect as D;
        let thinking = r#"{"error":{"type":"invalid_request_error","message":"thinking: extra inputs"}}"#;
        let max_tokens = r#"{"error":{"message":"Use 'max_completion_tokens'.","param":"max_tokens"}}"#;
        for (dialect, status, body, next) in [
            (D::AnthropicThinkingOff, 400, thinking, Some(D::AnthropicPlain)),
            (D::AnthropicThinkingOff, 400, max_tokens, None),
            (D::AnthropicThinkingOff, 500, thinking, None),
            (D::AnthropicPlain, 400, thinking, None),
            (D::OpenAiMaxTokens, 400, max_tokens, Some(D::OpenAiMaxCompletionTokens)),
            (D::OpenAiMaxTokens, 400, thinking, None),
            (D::OpenAiMaxTokens, 401, max_tokens, None),
            (D::OpenAiMaxCompletionTokens, 400, max_tokens, None),
        ] {
            assert_eq!(dialect.after_refusal(status, body.as_bytes()), next, "{dialect:?} {status} {body}");
        }
    }

    #[test]
    fn a_refused_stream_is_followed_by_a_whole_answer_where_that_will_do() {
        use Manner::{Either, Streamed, Whole};
        let unverified =
            r#"{"error":{"message":"Your organization must be verified to stream this model.","param":"stream"}}"#;
        for (manner, status, body, next, is_refused) in [
            (Either, 400, unverified, Some(Whole), true),
            (Either, 500, unverified, None, false),
            (Either, 400, r#"{"error":{"message":"x"}}"#, None, false),
            (Streamed, 400, unverified, None, true),
            (Whole, 400, unverified, None, false),
        ] {
            let found = (manner.after_refusal(status, body.as_bytes()), manner.is_refused(status, body.as_bytes()));
            assert_eq!(found, (next, is_refused), "{manner:?} {status} {body}");
        }
    }
}
