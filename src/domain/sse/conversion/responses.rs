//! A whole answer of the Responses API as its events.

use serde_json::value::RawValue;

use super::Events;
use crate::domain::sse::json::{ObjectMembers, ObjectText, quoted};

/// Adds an answer's events; `None` if it is not an answer that has come to its end.
pub(super) fn add_all(events: &mut Events, answer: &ObjectMembers<'_>) -> Option<()> {
    let items = answer.objects("output")?;
    let last = match answer.text("status")?.as_str() {
        "completed" => "response.completed",
        "incomplete" => "response.incomplete",
        _ => return None,
    };
    let whole = ObjectText::default().all_but(answer, &[]).finish();
    let begun = ObjectText::default()
        .all_but(answer, &["status", "output", "usage"])
        .text("status", "in_progress")
        .member("output", "[]")
        .member("usage", "null");
    let mut numbered = Numbered { events, next: 0 };
    numbered.add("response.created", |event| event.member("response", &begun.finish()))?;
    for (index, item) in items.iter().enumerate() {
        item_events(&mut numbered, &index.to_string(), item)?;
    }
    numbered.add(last, |event| event.member("response", &whole))
}

/// Adds the events of an item: its beginning, what streams of it, and the whole of it.
fn item_events(events: &mut Numbered<'_>, index: &str, item: &ObjectMembers<'_>) -> Option<()> {
    let kind = item.text("type").unwrap_or_default();
    // What streams is left out of the beginning.
    let (name, empty, streamed) = match kind.as_str() {
        "message" => ("content", "[]", None),
        "function_call" => ("arguments", "\"\"", Some("response.function_call_arguments")),
        "custom_tool_call" => ("input", "\"\"", Some("response.custom_tool_call_input")),
        _ => ("", "", None),
    };
    let begun = ObjectText::default().all_but(item, &[name]);
    let begun = if name.is_empty() { begun } else { begun.member(name, empty) };
    let at = |event: ObjectText| event.member("output_index", index);
    events.add("response.output_item.added", |event| at(event).member("item", &begun.finish()))?;
    let id = item.get("id").map_or("\"\"", |id| id.get());
    let place = |event: ObjectText| at(event.member("item_id", id));
    if let (Some(streamed), Some(value)) = (streamed, item.get(name)) {
        events.add(&format!("{streamed}.delta"), |event| place(event).member("delta", value.get()))?;
        events.add(&format!("{streamed}.done"), |event| place(event).member(name, value.get()))?;
    }
    if kind == "message" {
        for (number, part) in item.objects("content")?.iter().enumerate() {
            part_events(events, |event| place(event).member("content_index", &number.to_string()), part)?;
        }
    }
    let whole = ObjectText::default().all_but(item, &[]).finish();
    events.add("response.output_item.done", |event| at(event).member("item", &whole))
}

/// Adds the events of a part of a message: a text or a refusal.
fn part_events(
    events: &mut Numbered<'_>,
    place: impl Fn(ObjectText) -> ObjectText,
    part: &ObjectMembers<'_>,
) -> Option<()> {
    let (name, streamed) = match part.text("type")?.as_str() {
        "refusal" => ("refusal", "response.refusal"),
        _ => ("text", "response.output_text"),
    };
    let text = part.get(name).map(RawValue::get);
    let begun = ObjectText::default().all_but(part, &[name]);
    let begun = if text.is_some() { begun.text(name, "") } else { begun }.finish();
    let whole = ObjectText::default().all_but(part, &[]).finish();
    events.add("response.content_part.added", |event| place(event).member("part", &begun))?;
    if let Some(text) = text {
        events
            .add(&format!("{streamed}.delta"), |event| place(event).member("delta", text).member("logprobs", "[]"))?;
        events.add(&format!("{streamed}.done"), |event| place(event).member(name, text).member("logprobs", "[]"))?;
    }
    events.add("response.content_part.done", |event| place(event).member("part", &whole))
}

/// Events that have numbers.
struct Numbered<'a> {
    events: &'a mut Events,
    next: u64,
}

impl Numbered<'_> {
    fn add(&mut self, name: &str, fill: impl FnOnce(ObjectText) -> ObjectText) -> Option<()> {
        let event =
            ObjectText::default().member("type", &quoted(name)).member("sequence_number", &self.next.to_string());
        self.next = self.next.saturating_add(1);
        self.events.add(Some(name), fill(event))
    }
}
