// What the official SDKs for Node can ask for, and that they are told what the upstream said, also while another one fails.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import { withRig } from "./rig.mjs";

const CALLS = JSON.parse(await readFile(new URL("../calls.json", import.meta.url), "utf8"));
const TEXT = "Grüße aus dem Fjord";
const REQUESTS = 4;
/** How many requests meet a failure before it isolates the endpoint. */
const THRESHOLD = 3;
const IMAGE_SIZE = 5_000_000;

/** Every call in each manner that it has. */
const rows = Object.entries(CALLS).flatMap(([sdk, calls]) =>
  Object.entries(calls).flatMap(([name, call]) =>
    (call.only_plain ? ["plain"] : ["plain", "streamed"]).map((manner) => ({ sdk, name, call, manner })),
  ),
);

/** The method of that name, in this language's spelling, such as `messages.countTokens`. */
function methodOf(client, name) {
  const path = name.replace(/_(\w)/g, (_, letter) => letter.toUpperCase()).split(".");
  const last = path.pop();
  const owner = path.reduce((object, key) => object[key], client);
  return owner[last].bind(owner);
}

/** What the SDK made of one answer: an object, or the list of a stream's objects. */
async function tell(client, { method, arguments: given }, manner) {
  const create = methodOf(client, method);
  if (manner === "plain") {
    return plain(await create(given));
  }
  const events = [];
  for await (const event of await create({ ...given, stream: true })) {
    events.push(event);
  }
  return plain(events);
}

/** Without what the SDK adds for convenience. */
function plain(value) {
  const { output_text, ...rest } = value;
  return structuredClone(JSON.parse(JSON.stringify(Array.isArray(value) ? value : rest)));
}

/** What an SDK shows of what was said: all of it but pings. */
function shown(answer) {
  return Array.isArray(answer) ? answer.filter((event) => event.type !== "ping") : answer;
}

async function answersTo(rig, client, call, manner) {
  const answers = [];
  for (let number = 0; number < REQUESTS; number++) {
    answers.push(await tell(client, call, manner));
  }
  return answers;
}

for (const { sdk, name, call, manner } of rows) {
  for (const failure of ["sound", "500", "closes"]) {
    test(`${sdk} ${name} ${manner}: the SDK shows what the upstream said, while the first one is: ${failure}`, () =>
      withRig(sdk, async (rig) => {
        await rig.ask("behave", "first", failure);
        const answers = await answersTo(rig, rig.client(), call, manner);

        const heard = await rig.ask("requests", failure === "sound" ? "first" : "second");
        assert.equal(heard.length, REQUESTS);
        assert.deepEqual(answers, heard.map((request) => shown(request.answer)));
        for (const { body } of heard) {
          const asked = Object.fromEntries(Object.keys(call.arguments).map((key) => [key, body[key]]));
          assert.deepEqual(asked, call.arguments);
        }
        const stats = await rig.ask("settled");
        assert.deepEqual([stats.successful_requests, stats.failed_requests, stats.leaks], [REQUESTS, 0, 0]);
        if (failure !== "sound") {
          const met = await rig.ask("requests", "first");
          assert.equal(met.length, call.never_counts ? REQUESTS : THRESHOLD);
          const { standing } = await rig.ask("endpoint", "first");
          assert.equal(standing, call.never_counts ? "primary" : "failure");
        }
      }));
  }
}

for (const { sdk, name, call, manner } of rows.filter((row) => row.manner === "streamed")) {
  test(`${sdk} ${name}: a stream whose last chunk comes late is a success`, () =>
    withRig(sdk, async (rig) => {
      await rig.ask("behave", "first", "late last chunk");
      const answers = await answersTo(rig, rig.client(), call, manner);
      const heard = await rig.ask("requests", "first");
      assert.deepEqual(answers, heard.map((request) => shown(request.answer)));
      const stats = await rig.ask("settled");
      const counted = [stats.successful_requests, stats.cancelled_requests, stats.failed_requests];
      assert.deepEqual(counted, [REQUESTS, 0, 0]);
    }));
}

// --- what the SDKs put together from the events

test("anthropic: streamed thoughts keep their signature, and tool uses have their input", () =>
  withRig("anthropic", async (rig) => {
    for (const name of ["thinking", "tools"]) {
      const message = await rig.client().messages.stream(CALLS.anthropic[name].arguments).finalMessage();
      const heard = await rig.ask("requests", "first");
      const said = contentOf(heard.at(-1).answer);
      assert.deepEqual(plain(message.content), said);
    }
  }));

/** The blocks that the events of a stream make up, put together without the SDK. */
function contentOf(events) {
  const blocks = [];
  const inputs = [];
  for (const event of events) {
    if (event.type === "content_block_start") {
      blocks[event.index] = { ...event.content_block };
      inputs[event.index] = "";
    } else if (event.type === "content_block_delta") {
      const { type, partial_json, ...texts } = event.delta;
      inputs[event.index] += partial_json ?? "";
      for (const [key, text] of Object.entries(texts)) {
        blocks[event.index][key] += text;
      }
    }
  }
  return blocks.map((block, index) => (block.type === "tool_use" ? { ...block, input: JSON.parse(inputs[index]) } : block));
}

test("openai: streamed tool calls have their arguments", () =>
  withRig("openai", async (rig) => {
    const given = { ...CALLS.openai.tools.arguments, stream_options: { include_usage: true } };
    const completion = await rig.client().chat.completions.stream(given).finalChatCompletion();
    assert.equal(completion.usage.total_tokens, 18);
    const calls = completion.choices[0].message.tool_calls.map((call) => call.function);
    const wanted = ["Tromsø", "Bodø"].map((town) => ({ town, days: [1, 2] }));
    assert.deepEqual(calls.map((call) => JSON.parse(call.arguments)), wanted);
    assert.deepEqual(calls.map((call) => call.name), ["weather", "weather"]);
  }));

test("openai: a streamed response is put together", () =>
  withRig("openai", async (rig) => {
    const response = await rig.client().responses.stream(CALLS.openai.responses.arguments).finalResponse();
    assert.deepEqual([response.status, response.usage.total_tokens], ["completed", 18]);
    assert.equal(response.output[0].content[0].text, TEXT);
  }));

// --- images

function askingAbout(sdk, image) {
  const data = image.toString("base64");
  const picture =
    sdk === "anthropic"
      ? { type: "image", source: { type: "base64", media_type: "image/png", data } }
      : { type: "image_url", image_url: { url: `data:image/png;base64,${data}` } };
  const call = CALLS[sdk].text;
  const content = [picture, { type: "text", text: "What is this?" }];
  return { ...call, arguments: { ...call.arguments, messages: [{ role: "user", content }] } };
}

for (const sdk of Object.keys(CALLS)) {
  for (const manner of ["plain", "streamed"]) {
    for (const failure of ["sound", "500", "closes"]) {
      test(`${sdk} ${manner}: an image of five megabytes arrives to the byte, while the first one is: ${failure}`, () =>
        withRig(sdk, async (rig) => {
          await rig.ask("behave", "first", failure);
          let written;
          const watched = (url, init) => {
            written = Buffer.from(init.body);
            return fetch(url, init);
          };
          const answer = await tell(rig.client({ fetch: watched }), askingAbout(sdk, randomBytes(IMAGE_SIZE)), manner);

          assert.ok(written.length > (IMAGE_SIZE * 4) / 3);
          const sha256 = createHash("sha256").update(written).digest("hex");
          const asked = failure === "sound" ? ["first"] : ["first", "second"];
          for (const id of asked) {
            const heard = await rig.ask("requests", id);
            assert.deepEqual(heard.map((request) => [request.length, request.sha256]), [[written.length, sha256]]);
          }
          const [request] = await rig.ask("requests", asked.at(-1));
          assert.deepEqual(answer, shown(request.answer));
        }));
    }
  }
}
