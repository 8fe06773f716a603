//! The scripted upstream and the raw client against each other: every word of a script once.

mod answers;
mod connections;
mod scripts;
mod witness;

use serde_json::{Value, json};

use super::raw_client::RawClient;
use super::upstream::Upstream;

const MESSAGES: &str = "/v1/messages";
const CHAT: &str = "/v1/chat/completions";
const RESPONSES: &str = "/v1/responses";

const TRAFFIC: [(&str, &str); 1] = [("x-traffic", "1")];

/// A body with this question in the user's turn, for messages and for chat.
fn asking(question: &str) -> Value {
    json!({
        "model": "m-1", "max_tokens": 64,
        "messages": [{"role": "user", "content": [{"type": "text", "text": question}]}]
    })
}

/// A body that asks to join two halves of a code.
fn verification() -> String {
    asking("Here are two halves of a code, X7K and then 2QM. Write them joined.").to_string()
}

fn streamed(mut body: Value) -> String {
    body["stream"] = json!(true);
    body.to_string()
}

async fn client_of(upstream: &Upstream) -> RawClient {
    RawClient::connect(upstream.address()).await
}
