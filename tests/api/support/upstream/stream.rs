//! Protocol-true event streams, made piece by piece so that a script can break one off anywhere.

use serde_json::{Value, json};

use super::dialect::{self, Dialect, Facts, Protocol};

/// One stream under way.
pub(crate) struct Stream {
    facts: Facts,
    /// How many numbered events there were (the Responses API counts them).
    sequence: u64,
    /// The text so far.
    said: String,
}

impl Stream {
    pub(crate) fn new(facts: Facts) -> Self {
        Self { facts, sequence: 0, said: String::new() }
    }

    /// The events before the first content.
    pub(crate) fn opening(&mut self) -> Vec<String> {
        match self.facts.dialect {
            Dialect::Chat => vec![self.chat_chunk(&json!({"role": "assistant", "content": ""}), None)],
            Dialect::Completions => Vec::new(),
            Dialect::Responses => vec![
                self.numbered(json!({"type": "response.created", "response": self.response("in_progress", None)})),
                self.numbered(json!({"type": "response.in_progress", "response": self.response("in_progress", None)})),
                self.numbered(json!({
                    "type": "response.output_item.added", "output_index": 0,
                    "item": dialect::message_item(&self.facts, "in_progress", None)
                })),
                self.numbered(json!({
                    "type": "response.content_part.added", "item_id": self.facts.id("item"), "output_index": 0,
                    "content_index": 0, "part": {"type": "output_text", "text": "", "annotations": []}
                })),
            ],
            // A path that has no streams of its own is answered in the form of the messages.
            Dialect::Messages | Dialect::CountTokens | Dialect::Embeddings | Dialect::Models | Dialect::Other(_) => {
                vec![
                    named(&json!({"type": "message_start", "message": {
                        "id": self.facts.id("msg"), "type": "message", "role": "assistant", "model": self.facts.model,
                        "content": [], "stop_reason": null, "stop_sequence": null,
                        "usage": {"input_tokens": 40, "output_tokens": 1}
                    }})),
                    named(&json!({
                        "type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}
                    })),
                    named(&json!({"type": "ping"})),
                ]
            }
        }
    }

    /// One event with content.
    pub(crate) fn piece(&mut self, text: &str) -> String {
        self.said.push_str(text);
        match self.facts.dialect {
            Dialect::Chat => self.chat_chunk(&json!({"content": text}), None),
            Dialect::Completions => self.completion_chunk(text, None),
            Dialect::Responses => self.numbered(json!({
                "type": "response.output_text.delta", "item_id": self.facts.id("item"), "output_index": 0,
                "content_index": 0, "delta": text
            })),
            Dialect::Messages | Dialect::CountTokens | Dialect::Embeddings | Dialect::Models | Dialect::Other(_) => {
                named(&json!({
                    "type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}
                }))
            }
        }
    }

    /// The events behind the last content but for the closing one: whoever has these knows that the answer is whole.
    pub(crate) fn finish(&mut self) -> Vec<String> {
        match self.facts.dialect {
            Dialect::Chat => vec![self.chat_chunk(&json!({}), Some("stop"))],
            Dialect::Completions => vec![self.completion_chunk("", Some("stop"))],
            Dialect::Responses => vec![
                self.numbered(json!({
                    "type": "response.output_text.done", "item_id": self.facts.id("item"), "output_index": 0,
                    "content_index": 0, "text": self.said
                })),
                self.numbered(json!({
                    "type": "response.output_item.done", "output_index": 0,
                    "item": dialect::message_item(&self.facts, "completed", Some(&self.said))
                })),
            ],
            Dialect::Messages | Dialect::CountTokens | Dialect::Embeddings | Dialect::Models | Dialect::Other(_) => {
                vec![
                    named(&json!({"type": "content_block_stop", "index": 0})),
                    named(&json!({
                        "type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null},
                        "usage": {"output_tokens": 3}
                    })),
                ]
            }
        }
    }

    /// The closing event, with the usage before it where it was asked for.
    pub(crate) fn closing(&mut self) -> Vec<String> {
        match self.facts.dialect {
            Dialect::Chat | Dialect::Completions => {
                let usage = self.facts.include_usage.then(|| self.usage_chunk());
                usage.into_iter().chain(["data: [DONE]\n\n".to_owned()]).collect()
            }
            Dialect::Responses => {
                let response = self.response("completed", Some(&self.said));
                vec![self.numbered(json!({"type": "response.completed", "response": response}))]
            }
            Dialect::Messages | Dialect::CountTokens | Dialect::Embeddings | Dialect::Models | Dialect::Other(_) => {
                vec![named(&json!({"type": "message_stop"}))]
            }
        }
    }

    /// An error inside of the stream.
    pub(crate) fn failure(&mut self, kind: &str) -> String {
        let message = format!("scripted {kind} from {}", self.facts.upstream);
        if self.facts.dialect == Dialect::Responses {
            let mut response = self.response("failed", None);
            response["error"] = json!({"code": kind, "message": message});
            return self.numbered(json!({"type": "response.failed", "response": response}));
        }
        let body = dialect::error(&self.facts, kind, None, &message);
        match self.facts.dialect.protocol() {
            Protocol::Anthropic => format!("event: error\ndata: {body}\n\n"),
            Protocol::OpenAi => bare(&body),
        }
    }

    fn response(&self, status: &str, text: Option<&str>) -> Value {
        dialect::response(&self.facts, status, text)
    }

    fn numbered(&mut self, mut data: Value) -> String {
        data["sequence_number"] = json!(self.sequence);
        self.sequence += 1;
        named(&data)
    }

    fn chat_chunk(&self, delta: &Value, finish_reason: Option<&str>) -> String {
        bare(&json!({
            "id": self.facts.id("chatcmpl"), "object": "chat.completion.chunk", "created": 1_700_000_000,
            "model": self.facts.model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]
        }))
    }

    fn completion_chunk(&self, text: &str, finish_reason: Option<&str>) -> String {
        bare(&json!({
            "id": self.facts.id("cmpl"), "object": "text_completion", "created": 1_700_000_000,
            "model": self.facts.model,
            "choices": [{"index": 0, "text": text, "logprobs": null, "finish_reason": finish_reason}]
        }))
    }

    fn usage_chunk(&self) -> String {
        let (kind, object) = match self.facts.dialect {
            Dialect::Completions => ("cmpl", "text_completion"),
            _ => ("chatcmpl", "chat.completion.chunk"),
        };
        bare(&json!({
            "id": self.facts.id(kind), "object": object, "created": 1_700_000_000, "model": self.facts.model,
            "choices": [], "usage": {"prompt_tokens": 40, "completion_tokens": 3, "total_tokens": 43}
        }))
    }
}

/// An event whose name is its data's type.
fn named(data: &Value) -> String {
    format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap_or_default())
}

/// An event without a name.
fn bare(data: &Value) -> String {
    format!("data: {data}\n\n")
}

/// Cuts a text into exactly so many pieces; where it has fewer characters, spaces behind it make up the rest.
pub(crate) fn pieces(text: &str, count: usize) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    let filled = count.min(characters.len());
    let cut = |index: usize| index * characters.len() / filled;
    let piece = |index: usize| characters[cut(index)..cut(index + 1)].iter().collect();
    (0..filled).map(piece).chain((filled..count).map(|_| " ".to_owned())).collect()
}
