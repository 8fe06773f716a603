// A scripted upstream: it speaks the Anthropic API, passes test conversations, and fails as it is told.

import { once } from "node:events";
import { createServer } from "node:http";

/** What a test conversation asks to be joined: two halves whose middle is a digit. Nothing else in the question has digits. */
const HALF = /\b[A-Z2-9][2-9][A-Z2-9]\b/g;

const ERRORS = {
  400: "invalid_request_error",
  401: "authentication_error",
  402: "billing_error",
  429: "rate_limit_error",
  500: "api_error",
  529: "overloaded_error",
};

export class Upstream {
  static async start(name) {
    const upstream = new Upstream();
    upstream.name = name;
    upstream.key = `sk-upstream-${name}-0123456789`;
    upstream.behave("sound");
    upstream.held = new Set();
    upstream.server = createServer((request, response) => upstream.#serve(request, response));
    upstream.server.listen(0, "127.0.0.1");
    await once(upstream.server, "listening");
    upstream.url = `http://127.0.0.1:${upstream.server.address().port}`;
    return upstream;
  }

  /** `sound`, `hold` (traffic is answered once `release` is called), or the status of an error; with headers and a message, after a while. */
  behave(behaviour, { headers = {}, delay = 0, message = "scripted" } = {}) {
    Object.assign(this, { behaviour, headers, delay, message });
  }

  release() {
    for (const answer of this.held) answer();
    this.held.clear();
  }

  async #serve(request, response) {
    let text = "";
    for await (const piece of request) text += piece;
    const { behaviour, headers } = this;
    await this.#pass(1);
    if (typeof behaviour === "number") {
      const error = { type: ERRORS[behaviour], message: this.message };
      respond(response, behaviour, headers, { type: "error", error });
      return;
    }
    const body = JSON.parse(text);
    const question = body.messages?.[0]?.content;
    const halves = typeof question === "string" ? (question.match(HALF) ?? []) : [];
    const isVerification = halves.length === 2;
    const message = whole(body, isVerification ? halves.join("") : "Hello.");
    const answer = () => (body.stream ? this.#stream(response, headers, message) : respond(response, 200, headers, message));
    if (behaviour === "hold" && !isVerification) this.held.add(answer);
    else answer();
  }

  /** Lets a part of the delay pass, more or less. */
  async #pass(part) {
    if (this.delay > 0) await new Promise((resolve) => setTimeout(resolve, this.delay * part * (0.5 + Math.random())));
  }

  async #stream(response, headers, message) {
    response.writeHead(200, { "content-type": "text/event-stream", ...headers });
    const send = (type, fields) => response.write(`event: ${type}\ndata: ${JSON.stringify({ type, ...fields })}\n\n`);
    const { content: [{ text }], usage } = message;
    send("message_start", { message: { ...message, content: [], stop_reason: null } });
    send("content_block_start", { index: 0, content_block: { type: "text", text: "" } });
    for (const piece of text.match(/.{1,3}/g)) {
      send("content_block_delta", { index: 0, delta: { type: "text_delta", text: piece } });
      await this.#pass(0.5);
    }
    send("content_block_stop", { index: 0 });
    send("message_delta", { delta: { stop_reason: "end_turn", stop_sequence: null }, usage });
    send("message_stop", {});
    response.end();
  }

  async stop() {
    this.release();
    this.server.closeAllConnections();
    this.server.close();
  }
}

function whole(body, text) {
  return {
    id: "msg_1",
    type: "message",
    role: "assistant",
    model: body.model,
    content: [{ type: "text", text }],
    stop_reason: "end_turn",
    stop_sequence: null,
    usage: { input_tokens: 1200, output_tokens: 84, cache_read_input_tokens: 9000, cache_creation_input_tokens: 300 },
  };
}

function respond(response, status, headers, body) {
  response.writeHead(status, { "content-type": "application/json", ...headers });
  response.end(JSON.stringify(body));
}
