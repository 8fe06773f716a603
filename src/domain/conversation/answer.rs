//! What an answer says, and what it has cost.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::endpoint::Protocol;
use super::super::members::without_mark;
use super::super::usage::MOST;

/// What a conversation cost, in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tokens {
    /// Read by the model.
    pub input: u64,
    /// Written by the model.
    pub output: u64,
}

impl Tokens {
    /// The greater of two counts of the same answer, field by field: a stream's counts are running totals.
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

/// What an endpoint said. There is no `Debug`: what was said stays between the two.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// All of its text, joined, without any thinking.
    pub text: String,
    /// What it cost; zero if not stated.
    pub tokens: Tokens,
}

impl Answer {
    /// Reads a whole answer of a protocol: a message or a chat completion. `None` if the body is neither.
    #[must_use]
    pub fn read(protocol: Protocol, body: &[u8]) -> Option<Self> {
        let body = without_mark(body);
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
pub(super) fn counted(usage: &Value) -> Tokens {
    let written = |name: &str| usage.get(name)?.as_u64().filter(|count| *count <= MOST);
    let count = |names: [&str; 2]| names.into_iter().find_map(written).unwrap_or_default();
    Tokens { input: count(["input_tokens", "prompt_tokens"]), output: count(["output_tokens", "completion_tokens"]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absurd_count_of_tokens_is_none() {
        let body = br#"{"content":[],"usage":{"input_tokens":18446744073709551615,"output_tokens":3}}"#;
        let answer = Answer::read(Protocol::Anthropic, body).unwrap();
        assert_eq!(answer.tokens, Tokens { input: 0, output: 3 });
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
            let marked = Answer::read(protocol, format!("\u{feff}{body}").as_bytes()).unwrap();
            assert_eq!((marked.text, marked.tokens), (answer.text, answer.tokens), "a mark is no part of it: {body}");
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
}
