//! A test conversation as it goes over the wire: the request in each dialect of the two protocols, what an answer says and
//! costs, and which models are tried.

mod streamed;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::endpoint::Protocol;
use super::route::LlmPath;
use super::usage::MOST;

pub use streamed::{StreamEnd, StreamedAnswer};

/// How an answer is asked for, and comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Manner {
    /// In one piece.
    #[default]
    Whole,
    /// A stream is asked for, and what comes is none, or none that has begun. For traffic a whole answer is as good.
    Either,
    /// As an event stream.
    Streamed,
}

impl Manner {
    /// How to ask once more where a stream was refused. `None` where none was asked for, or nothing else will do: then it is a
    /// matter of the model.
    #[must_use]
    pub fn after_refusal(self, status: u16, body: &[u8]) -> Option<Self> {
        match self {
            Self::Either => self.is_refused(status, body).then_some(Self::Whole),
            Self::Whole | Self::Streamed => None,
        }
    }

    /// Whether a stream was asked for, and refused: some keys get a model's answers in one piece only.
    #[must_use]
    pub fn is_refused(self, status: u16, body: &[u8]) -> bool {
        match self {
            Self::Whole => false,
            Self::Either | Self::Streamed => is_refused("stream", status, body),
        }
    }
}

/// Whether a request is refused for a member of its: by a 400 whose error names it.
fn is_refused(member: &str, status: u16, body: &[u8]) -> bool {
    status == 400 && String::from_utf8_lossy(body).contains(member)
}

/// How a request is worded. Endpoints differ in what they know, so one that is refused is worded otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Messages with thinking switched off: some vendors think by default, at the operator's cost.
    AnthropicThinkingOff,
    /// Messages without a word of thinking.
    AnthropicPlain,
    /// Chat completions with `max_tokens`.
    OpenAiMaxTokens,
    /// Chat completions with `max_completion_tokens`.
    OpenAiMaxCompletionTokens,
}

impl Dialect {
    /// What an endpoint of this protocol is asked in first.
    #[must_use]
    pub const fn first(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Anthropic => Self::AnthropicThinkingOff,
            Protocol::OpenAi => Self::OpenAiMaxTokens,
        }
    }

    /// The path to which it is sent.
    #[must_use]
    pub const fn path(self) -> LlmPath {
        match self {
            Self::AnthropicThinkingOff | Self::AnthropicPlain => LlmPath::Messages,
            Self::OpenAiMaxTokens | Self::OpenAiMaxCompletionTokens => LlmPath::ChatCompletions,
        }
    }

    /// The dialect to try after this one was refused: by a 400 whose error names what the other one does without.
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
    /// The model, by the name that the endpoint knows it by.
    pub model: &'a str,
    /// The bound on the answer's length, in tokens.
    pub max_tokens: u32,
    /// A system prompt.
    pub system: Option<&'a str>,
    /// The user's turn.
    pub prompt: &'a str,
    /// How the answer is to come.
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

/// The turns of a chat, in which the system prompt is the first.
fn chat(system: Option<&str>, user: Value) -> Vec<Value> {
    system.map(|system| json!({"role": "system", "content": system})).into_iter().chain([user]).collect()
}

/// What a conversation cost, in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tokens {
    /// Read by the model.
    pub input: u64,
    /// Written by the model.
    pub output: u64,
}

impl Tokens {
    /// Of two counts of the same answer the greater, field by field: a stream's counts are running totals.
    #[must_use]
    pub fn greatest(self, other: Self) -> Self {
        Self { input: self.input.max(other.input), output: self.output.max(other.output) }
    }
}

impl std::ops::AddAssign for Tokens {
    fn add_assign(&mut self, more: Self) {
        self.input = self.input.saturating_add(more.input);
        self.output = self.output.saturating_add(more.output);
    }
}

/// What an endpoint said. Its `Debug` is left out: what is said stays between the two.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// All of its text, joined; what it only thought is no part of it.
    pub text: String,
    /// What it cost; zero where that isn't said.
    pub tokens: Tokens,
}

impl Answer {
    /// Reads a whole answer of a protocol: a message, or a chat completion. `None` where the body is neither.
    #[must_use]
    pub fn read(protocol: Protocol, body: &[u8]) -> Option<Self> {
        match protocol {
            Protocol::Anthropic => {
                let message: Message<'_> = serde_json::from_slice(body).ok()?;
                Some(Self { text: joined(message.content), tokens: tokens(message.usage) })
            }
            Protocol::OpenAi => {
                let completion: Completion<'_> = serde_json::from_slice(body).ok()?;
                let contents = completion.choices.into_iter().filter_map(|choice| choice.message.content);
                let text = contents.map(|content| match content {
                    Content::Text(text) => text,
                    Content::Parts(parts) => joined(parts),
                });
                Some(Self { text: text.collect(), tokens: tokens(completion.usage) })
            }
        }
    }
}

#[derive(Deserialize)]
struct Message<'a> {
    content: Vec<Part>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Completion<'a> {
    choices: Vec<Choice>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice {
    message: ChatMessage,
}

#[derive(Deserialize)]
struct ChatMessage {
    content: Option<Content>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    #[serde(rename = "type")]
    kind: Option<String>,
    text: Option<String>,
}

fn joined(parts: Vec<Part>) -> String {
    parts.into_iter().filter(|part| part.kind.as_deref() == Some("text")).filter_map(|part| part.text).collect()
}

/// The counts by either protocol's names. Usage that can't be read is no reason to reject an answer.
fn tokens(usage: Option<&RawValue>) -> Tokens {
    usage.and_then(|raw| serde_json::from_str(raw.get()).ok()).map(|usage| counted(&usage)).unwrap_or_default()
}

/// The counts of a usage object. Vendors leave out what they don't count.
fn counted(usage: &Value) -> Tokens {
    let written = |name: &str| usage.get(name)?.as_u64().filter(|count| *count <= MOST);
    let count = |names: [&str; 2]| names.into_iter().find_map(written).unwrap_or_default();
    Tokens { input: count(["input_tokens", "prompt_tokens"]), output: count(["output_tokens", "completion_tokens"]) }
}

/// How many of the models that an endpoint's settings list are tried where it lacks all others. One may be gone; a long list is no
/// reason for as many requests.
const LISTED: usize = 2;

/// The models to verify an endpoint with, each once: after one that it lacks, the next.
#[derive(Clone, Debug)]
pub struct ModelsToTry {
    models: std::vec::IntoIter<String>,
}

impl ModelsToTry {
    /// Puts the candidates in order: the endpoint's `verify_model`, the verifier's `model`, the one whose failure isolated
    /// the endpoint, the protocol's default, and for endpoints that have none of these the first ones that their settings list.
    /// Empty ones mean nothing.
    #[must_use]
    pub fn new<'a>(
        verify_model: Option<&'a str>,
        verifier_model: Option<&'a str>,
        failed_model: Option<&'a str>,
        protocol_default: &'a str,
        listed: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let mut models: Vec<String> = Vec::new();
        let named = [verify_model, verifier_model, failed_model, Some(protocol_default)].into_iter().flatten();
        for model in named.chain(listed.into_iter().take(LISTED)) {
            if !model.is_empty() && !models.iter().any(|known| known == model) {
                models.push(model.to_owned());
            }
        }
        Self { models: models.into_iter() }
    }

    /// No other model than this one.
    #[must_use]
    pub fn only(model: &str) -> Self {
        Self { models: vec![model.to_owned()].into_iter() }
    }
}

impl Iterator for ModelsToTry {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        self.models.next()
    }
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
    fn an_absurd_count_of_tokens_is_none() {
        let body = br#"{"content":[],"usage":{"input_tokens":18446744073709551615,"output_tokens":3}}"#;
        let answer = Answer::read(Protocol::Anthropic, body).unwrap();
        assert_eq!(answer.tokens, Tokens { input: 0, output: 3 });
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

    #[test]
    fn an_answers_text_is_joined_and_its_cost_read() {
        use Protocol::{Anthropic, OpenAi};
        for (protocol, body, text, input, output) in [
            (
                Anthropic,
                r#"{"content":[{"type":"thinking","thinking":"hm","text":"no"},{"type":"text","text":"A2"},
                    {"type":"text","text":"B3"},{"type":"tool_use","input":{}}],
                    "usage":{"input_tokens":40,"output_tokens":3}}"#,
                "A2B3",
                40,
                3,
            ),
            (Anthropic, r#"{"content":[],"usage":null}"#, "", 0, 0),
            (Anthropic, r#"{"content":[{"type":"text","text":"x"}],"usage":"odd"}"#, "x", 0, 0),
            (
                OpenAi,
                r#"{"choices":[{"message":{"role":"assistant","content":"A2B","reasoning_content":"hm"}}],
                    "usage":{"prompt_tokens":9,"completion_tokens":2}}"#,
                "A2B",
                9,
                2,
            ),
            (
                OpenAi,
                r#"{"choices":[{"message":{"content":[{"type":"text","text":"a"},{"type":"x","text":"b"}]}}]}"#,
                "a",
                0,
                0,
            ),
            (OpenAi, r#"{"choices":[{"message":{"content":null}}]}"#, "", 0, 0),
        ] {
            let answer = Answer::read(protocol, body.as_bytes()).unwrap();
            assert_eq!((answer.text.as_str(), answer.tokens), (text, Tokens { input, output }), "{body}");
        }
    }

    #[test]
    fn what_is_no_answer_of_the_protocol_is_not_read() {
        let message = r#"{"content":[{"type":"text","text":"x"}]}"#;
        let completion = r#"{"choices":[{"message":{"content":"x"}}]}"#;
        for (protocol, body) in [
            (Protocol::Anthropic, completion),
            (Protocol::OpenAi, message),
            (Protocol::Anthropic, "<html>x</html>"),
            (Protocol::Anthropic, ""),
            (Protocol::OpenAi, "\"x\""),
            (Protocol::Anthropic, r#"{"content":"x"}"#),
        ] {
            assert!(Answer::read(protocol, body.as_bytes()).is_none(), "{body}");
        }
    }

    #[test]
    fn models_are_tried_in_order_and_each_once() {
        let tried = |a, b, c| ModelsToTry::new(a, b, c, "default", []).collect::<Vec<_>>();
        assert_eq!(tried(None, None, None), ["default"]);
        assert_eq!(tried(Some("own"), Some("all"), Some("failed")), ["own", "all", "failed", "default"]);
        assert_eq!(tried(Some(""), Some("all"), Some("all")), ["all", "default"]);
        assert_eq!(tried(Some("default"), None, Some("failed")), ["default", "failed"]);
    }

    #[test]
    fn the_first_models_that_an_endpoint_lists_are_tried_last() {
        let tried = |failed, listed: &[&str]| {
            ModelsToTry::new(None, None, failed, "default", listed.iter().copied()).collect::<Vec<_>>()
        };
        assert_eq!(tried(None, &["opus"]), ["default", "opus"]);
        assert_eq!(tried(Some("opus"), &["opus", "default"]), ["opus", "default"]);
        assert_eq!(tried(None, &["opus", "sonnet", "haiku"]), ["default", "opus", "sonnet"]);
    }
}
