//! Converts a whole JSON answer into events, for a client that asked for a stream and got none.

mod responses;

use serde_json::value::RawValue;

use super::Format;
use super::ending::closing;
use super::json::{ObjectMembers, ObjectText, elements, is_empty, quoted};
use crate::domain::members::without_mark;

/// The most bytes of events that an answer may become: this many, plus `MAX_FOR_A_BYTE` for each of its bytes. A good
/// answer becomes about as much as it was, a response five times that, since its text is in five of its events; an answer
/// made for the purpose could become a million times that.
const MAX_OF_NOTHING: usize = 1 << 20;
const MAX_FOR_A_BYTE: usize = 6;

/// The events of a whole answer. `None` if the body is not an answer of this format, is an empty one, or would grow far
/// beyond its size, or if the format has no such events here. `include_usage`: a chat request asked for a last chunk
/// with the usage.
#[must_use]
pub fn as_events(format: Format, body: &[u8], include_usage: bool) -> Option<String> {
    let answer = ObjectMembers::read(without_mark(body))?;
    let mut events = Events { text: String::new(), most: MAX_OF_NOTHING + MAX_FOR_A_BYTE * body.len() };
    match format {
        Format::Messages => message_events(&mut events, &answer)?,
        Format::Chat => {
            let beginning = ObjectText::default()
                .all_but(&answer, &["object", "choices", "usage"])
                .text("object", "chat.completion.chunk");
            Chunks { answer: &answer, beginning, events: &mut events }.add_all(include_usage)?;
        }
        Format::Responses => responses::add_all(&mut events, &answer)?,
        Format::Completions => return None,
    }
    // The last event of a response is its closing one.
    events.text.push_str(closing(format).unwrap_or_default());
    Some(events.text)
}

/// Events as they are written, up to a length.
struct Events {
    text: String,
    most: usize,
}

impl Events {
    /// Adds an event, named or not; `None` if that is too much.
    fn add(&mut self, name: Option<&str>, data: ObjectText) -> Option<()> {
        if let Some(name) = name {
            self.text.extend(["event: ", name, "\n"]);
        }
        // In JSON a line end can only stand where white space may, but in an event it would cut the data in two.
        let data = data.finish().replace(['\n', '\r'], " ");
        self.text.extend(["data: ", &data, "\n\n"]);
        (self.text.len() <= self.most).then_some(())
    }
}

fn message_events(events: &mut Events, message: &ObjectMembers<'_>) -> Option<()> {
    let blocks = message.objects("content")?;
    message.get("role")?;
    if blocks.is_empty() {
        // Neither content nor an end: as a stream it would have failed.
        message.filled("stop_reason")?;
    }
    let started = ObjectText::default()
        .all_but(message, &["content", "stop_reason", "stop_sequence", "usage"])
        .member("content", "[]")
        .member("stop_reason", "null")
        .member("stop_sequence", "null")
        .member("usage", message.get("usage").map_or("{\"input_tokens\":0,\"output_tokens\":0}", |usage| usage.get()));
    let start = ObjectText::default().text("type", "message_start").member("message", &started.finish());
    events.add(Some("message_start"), start)?;
    for (index, block) in blocks.iter().enumerate() {
        block_events(events, &index.to_string(), block)?;
    }
    let ending = ObjectText::default()
        .member("stop_reason", message.get("stop_reason").map_or("null", |reason| reason.get()))
        .member("stop_sequence", message.get("stop_sequence").map_or("null", |sequence| sequence.get()));
    // Clients take these only from the end of a stream.
    let ending = ending.filled(message, &["stop_details", "container", "safeguard_results"]);
    let delta = ObjectText::default()
        .text("type", "message_delta")
        .member("delta", &ending.finish())
        .member("usage", message.get("usage").map_or("{\"output_tokens\":0}", |usage| usage.get()))
        .filled(message, &["context_management", "input_transformations"]);
    events.add(Some("message_delta"), delta)
}

/// Adds a block's start, deltas and stop. What streams in deltas is left out of the start; a block of another type is
/// written whole there.
fn block_events(events: &mut Events, index: &str, block: &ObjectMembers<'_>) -> Option<()> {
    let kind = block.text("type").unwrap_or_default();
    let start = ObjectText::default();
    let filled = |name: &str| block.filled(name).map(|value| value.get().to_owned());
    let (start, deltas) = match kind.as_str() {
        "text" => {
            let mut deltas: Vec<_> = filled("text").map(|text| ("text_delta", "text", text)).into_iter().collect();
            for citation in block.get("citations").map_or_else(|| Some(Vec::new()), list)? {
                deltas.push(("citations_delta", "citation", citation));
            }
            (start.all_but(block, &["text", "citations"]).text("text", ""), deltas)
        }
        "thinking" => {
            let thinking = filled("thinking").map(|text| ("thinking_delta", "thinking", text));
            let signature = filled("signature").map(|text| ("signature_delta", "signature", text));
            let start = start.all_but(block, &["thinking", "signature"]).text("thinking", "").text("signature", "");
            (start, thinking.into_iter().chain(signature).collect())
        }
        "tool_use" | "server_tool_use" | "mcp_tool_use" => {
            let input = block.get("input").map_or("{}", |input| input.get());
            let start = start.all_but(block, &["input"]).member("input", "{}");
            (start, vec![("input_json_delta", "partial_json", quoted(input))])
        }
        _ => (start.all_but(block, &[]), Vec::new()),
    };
    let about = |name: &str| ObjectText::default().text("type", name).member("index", index);
    let start = about("content_block_start").member("content_block", &start.finish());
    events.add(Some("content_block_start"), start)?;
    for (kind, name, json) in deltas {
        let delta = ObjectText::default().text("type", kind).member(name, &json);
        events.add(Some("content_block_delta"), about("content_block_delta").member("delta", &delta.finish()))?;
    }
    events.add(Some("content_block_stop"), about("content_block_stop"))
}

/// The elements of a list, each as it was written; empty if it is not a list, `None` if there are too many.
fn list(raw: &RawValue) -> Option<Vec<String>> {
    if !raw.get().starts_with('[') {
        return Some(Vec::new());
    }
    let elements: Vec<&RawValue> = elements(raw)?;
    Some(elements.into_iter().map(|element| element.get().to_owned()).collect())
}

/// Writes the chunks of a chat, which all begin alike.
struct Chunks<'a> {
    answer: &'a ObjectMembers<'a>,
    /// What each chunk begins with: made once, since an answer may have any number of members.
    beginning: ObjectText,
    events: &'a mut Events,
}

impl Chunks<'_> {
    fn add(&mut self, choices: &str, usage: Option<&str>) -> Option<()> {
        let chunk = self.beginning.clone().member("choices", &format!("[{choices}]"));
        let chunk = match usage {
            Some(usage) => chunk.member("usage", usage),
            None => chunk,
        };
        self.events.add(None, chunk)
    }

    fn add_delta(&mut self, index: &str, delta: ObjectText, logprobs: Option<&str>, finish_reason: &str) -> Option<()> {
        let choice = ObjectText::default().member("index", index).member("delta", &delta.finish());
        let choice = match logprobs {
            Some(logprobs) => choice.member("logprobs", logprobs),
            None => choice,
        };
        self.add(&choice.member("finish_reason", finish_reason).finish(), None)
    }

    fn add_all(mut self, include_usage: bool) -> Option<()> {
        let choices = self.answer.objects("choices").filter(|choices| !choices.is_empty())?;
        for (position, choice) in choices.iter().enumerate() {
            let message = ObjectMembers::of(choice.get("message")?)?;
            let position = position.to_string();
            let index = choice.get("index").map_or(position.as_str(), |index| index.get());
            let role = message.text("role").unwrap_or_else(|| "assistant".to_owned());
            self.add_delta(index, ObjectText::default().text("role", &role).text("content", ""), None, "null")?;
            let mut logprobs = choice.filled("logprobs").map(RawValue::get);
            for (name, value) in message.0.iter().filter(|(name, value)| name != "role" && !is_empty(value)) {
                let delta = match name.as_str() {
                    "tool_calls" => ObjectText::default().member("tool_calls", &numbered(&message)?),
                    name => ObjectText::default().member(name, value.get()),
                };
                let logprobs = if name == "content" { logprobs.take() } else { None };
                self.add_delta(index, delta, logprobs, "null")?;
            }
            let finish_reason = choice.get("finish_reason").map_or("\"stop\"", |reason| reason.get());
            self.add_delta(index, ObjectText::default(), logprobs, finish_reason)?;
        }
        match self.answer.filled("usage").filter(|_| include_usage) {
            Some(usage) => self.add("", Some(usage.get())),
            None => Some(()),
        }
    }
}

/// Tool calls as a stream has them, with their places in the list. `None` if they can't be read.
fn numbered(message: &ObjectMembers<'_>) -> Option<String> {
    let calls = message.objects("tool_calls")?;
    let numbered = calls.iter().enumerate().map(|(index, call)| {
        ObjectText::default().member("index", &index.to_string()).all_but(call, &["index"]).finish()
    });
    Some(format!("[{}]", numbered.collect::<Vec<_>>().join(",")))
}
