//! What the demonstration's upstreams say: the Anthropic Messages API, plain and as a stream of events, with no model at
//! work.

use serde::Deserialize;
use serde_json::{Value, json};

/// The content of a message: a text, or blocks of which some are texts.
#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Blocks(Vec<Block>),
}

#[derive(Deserialize)]
struct Block {
    #[serde(default)]
    text: String,
}

#[derive(Deserialize)]
struct Turn {
    role: String,
    content: Content,
}

#[derive(Deserialize)]
struct Body {
    model: String,
    max_tokens: Option<usize>,
    #[serde(default)]
    stream: bool,
    messages: Vec<Turn>,
}

impl Content {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Blocks(blocks) => blocks.iter().map(|block| block.text.as_str()).collect::<Vec<_>>().join(" "),
        }
    }
}

/// What was asked, as far as the answer depends on it.
pub(super) struct Question {
    model: String,
    max_tokens: Option<usize>,
    /// Whether the answer is to be a stream of events.
    pub(super) streamed: bool,
    last_turn: String,
    /// The size of all turns, in words, which stand for tokens here.
    pub(super) input_tokens: usize,
}

impl Question {
    /// Reads a request's body; the error says what is wrong with it.
    pub(super) fn read(body: &[u8]) -> Result<Self, String> {
        let body: Body = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let last_turn = body.messages.iter().rev().find(|turn| turn.role == "user");
        let last_turn = last_turn.ok_or("messages: at least one message of the user is required")?.content.text();
        let words = |turn: &Turn| turn.content.text().split_whitespace().count();
        Ok(Self {
            model: body.model,
            max_tokens: body.max_tokens,
            streamed: body.stream,
            last_turn,
            input_tokens: body.messages.iter().map(words).sum(),
        })
    }

    /// The answer of the upstream with this name; the error says what the question lacks.
    pub(super) fn answer(self, upstream: &str, id: String) -> Result<Answer, String> {
        let max_tokens = self.max_tokens.ok_or("max_tokens: field required")?;
        let text = joined_halves(&self.last_turn).unwrap_or_else(|| sentence(upstream));
        let mut pieces: Vec<String> = text.split_inclusive(' ').map(str::to_owned).collect();
        let is_whole = pieces.len() <= max_tokens;
        pieces.truncate(max_tokens);
        let stop_reason = if is_whole { "end_turn" } else { "max_tokens" };
        Ok(Answer { id, model: self.model, input_tokens: self.input_tokens, pieces, stop_reason })
    }
}

/// What an upstream says to everything but a verification.
pub(super) fn sentence(upstream: &str) -> String {
    format!(
        "This is {upstream}, an upstream of the demonstration. There is no model behind me, so I say this to everybody."
    )
}

/// Does what a verification asks for: joins the two halves of a code, which are its only words of three capitals and digits
/// that hold a digit. `None` for any other text.
fn joined_halves(text: &str) -> Option<String> {
    let is_half = |word: &&str| {
        word.len() == 3
            && word.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
            && word.bytes().any(|b| b.is_ascii_digit())
    };
    let mut halves = text.split(|c: char| !c.is_alphanumeric()).filter(is_half);
    match (halves.next(), halves.next(), halves.next()) {
        (Some(first), Some(second), None) => Some(format!("{first}{second}")),
        _ => None,
    }
}

/// A whole answer, to be sent as one message or as the events of a stream.
pub(super) struct Answer {
    id: String,
    model: String,
    input_tokens: usize,
    pieces: Vec<String>,
    stop_reason: &'static str,
}

impl Answer {
    /// The message as a JSON object.
    pub(super) fn message(&self) -> Value {
        let text = self.pieces.concat();
        self.envelope(&json!([{"type": "text", "text": text}]), Some(self.stop_reason), self.pieces.len())
    }

    /// The events of the stream, in order, each with its blank line.
    pub(super) fn events(&self) -> Vec<String> {
        let start = self.envelope(&json!([]), None, 1);
        let mut events = vec![
            event("message_start", &json!({"type": "message_start", "message": start})),
            event(
                "content_block_start",
                &json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
            ),
            event("ping", &json!({"type": "ping"})),
        ];
        events.extend(self.pieces.iter().map(|piece| {
            let delta = json!({"type": "text_delta", "text": piece});
            event("content_block_delta", &json!({"type": "content_block_delta", "index": 0, "delta": delta}))
        }));
        let delta = json!({"stop_reason": self.stop_reason, "stop_sequence": null});
        let usage = json!({"output_tokens": self.pieces.len()});
        events.extend([
            event("content_block_stop", &json!({"type": "content_block_stop", "index": 0})),
            event("message_delta", &json!({"type": "message_delta", "delta": delta, "usage": usage})),
            event("message_stop", &json!({"type": "message_stop"})),
        ]);
        events
    }

    fn envelope(&self, content: &Value, stop_reason: Option<&str>, output_tokens: usize) -> Value {
        json!({
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": null,
            "usage": {"input_tokens": self.input_tokens, "output_tokens": output_tokens},
        })
    }
}

fn event(name: &str, data: &Value) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::challenge::{Challenge, Code, Reply, ReplyBody, Verdict};
    use crate::domain::classify::Words;
    use crate::domain::conversation::{Dialect, Question as Asked};
    use crate::domain::endpoint::Protocol;
    use crate::domain::finding;
    use crate::domain::ids::{EndpointId, Epoch};

    fn answer(body: &Value) -> Result<Answer, String> {
        Question::read(body.to_string().as_bytes())?.answer("north", "msg_1".to_owned())
    }

    fn hello(max_tokens: usize) -> Value {
        json!({"model": "m", "max_tokens": max_tokens, "messages": [{"role": "user", "content": "Hello there"}]})
    }

    #[test]
    fn a_verification_is_passed_by_understanding_its_question() {
        for random in 0..200_u64 {
            let code = Code::from_random(random.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let challenge = Challenge::new(EndpointId::new("north").unwrap(), Epoch::from_raw(1), code);
            let prompt = challenge.prompt();
            let question =
                Asked { model: "m", max_tokens: 64, system: None, prompt: &prompt, manner: challenge.manner() };
            let body = question.body(Dialect::AnthropicThinkingOff);
            let answer = Question::read(body.as_bytes()).unwrap().answer("north", "msg_1".to_owned()).unwrap();
            let message = answer.message().to_string();
            let elapsed = Duration::from_millis(80);
            let body = ReplyBody::Whole(message.as_bytes());
            let reply =
                Reply { protocol: Protocol::Anthropic, status: 200, body, asked: finding::Asked::ANYTHING, elapsed };
            let Verdict::Proven(proof) = challenge.judge(&reply, Words::Left) else { panic!("{message}") };
            assert_eq!(proof.score(), 100);
        }
    }

    #[test]
    fn only_two_halves_are_a_code() {
        for (text, joined) in [
            ("the first half is A2B while the second half is C3D.", Some("A2BC3D")),
            ("the first half is A2B", None),
            ("A2B, C3D and E4F", None),
            ("GET THE API FOR THE USE", None),
            ("Hello", None),
            ("", None),
        ] {
            assert_eq!(joined_halves(text).as_deref(), joined, "{text}");
        }
    }

    #[test]
    fn any_other_question_is_answered_with_a_sentence_of_at_most_as_many_tokens_as_are_wanted() {
        let message = answer(&hello(100)).unwrap().message();
        assert_eq!(message["content"][0]["text"], sentence("north"));
        assert_eq!((&message["stop_reason"], &message["usage"]["input_tokens"]), (&json!("end_turn"), &json!(2)));
        let cut = answer(&hello(3)).unwrap().message();
        assert_eq!(cut["content"][0]["text"], "This is north, ");
        assert_eq!((&cut["stop_reason"], &cut["usage"]["output_tokens"]), (&json!("max_tokens"), &json!(3)));
    }

    #[test]
    fn the_last_turn_of_the_user_is_answered_whatever_form_it_has() {
        let body = json!({"model": "m", "max_tokens": 9, "messages": [
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "x", "name": "y", "input": {}}]},
            {"role": "user", "content": [{"type": "text", "text": "halves: A2B"}, {"type": "text", "text": "C3D"}]},
            {"role": "system", "content": "more"},
        ]});
        assert_eq!(answer(&body).unwrap().message()["content"][0]["text"], "A2BC3D");
    }

    #[test]
    fn the_events_stand_for_the_same_message_and_are_named_by_their_type() {
        let answer = answer(&hello(100)).unwrap();
        let events: Vec<(String, Value)> = answer
            .events()
            .iter()
            .map(|event| {
                let (name, data) = event.strip_suffix("\n\n").unwrap().split_once('\n').unwrap();
                let data = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
                (name.strip_prefix("event: ").unwrap().to_owned(), data)
            })
            .collect();
        assert!(events.iter().all(|(name, data)| data["type"] == name.as_str()));
        let text: String = events.iter().filter_map(|(_, data)| data["delta"]["text"].as_str()).collect();
        assert_eq!(text, answer.message()["content"][0]["text"]);
        assert_eq!(events.first().unwrap().0, "message_start");
        assert_eq!(events.last().unwrap().0, "message_stop");
    }

    #[test]
    fn a_body_that_is_no_question_is_refused_with_what_it_lacks() {
        for (body, lack) in [
            (json!({"max_tokens": 1, "messages": []}), "model"),
            (json!({"model": "m", "max_tokens": 1, "messages": []}), "messages"),
            (json!({"model": "m", "messages": [{"role": "user", "content": "x"}]}), "max_tokens"),
            (json!([]), "model"),
        ] {
            let refusal = answer(&body).err().unwrap();
            assert!(refusal.contains(lack) || body.is_array(), "{refusal}");
        }
    }
}
