// What the SDKs for Node make of the answers and breaks that a gateway can't hide.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";

import { withRig } from "./rig.mjs";

const CALLS = JSON.parse(await readFile(new URL("../calls.json", import.meta.url), "utf8"));
const CLASSES = { anthropic: Anthropic, openai: OpenAI };
const MANNERS = ["plain", "streamed"];

/** Reads one answer to its end. */
async function ask(client, sdk, manner) {
  const owner = sdk === "anthropic" ? client.messages : client.chat.completions;
  const answer = await owner.create({ ...CALLS[sdk].text.arguments, stream: manner === "streamed" });
  if (manner === "streamed") {
    for await (const _ of answer);
  }
}

const TEXT = "Grüße aus dem Fjord";

/** The text that a stream's events put together, with no proof that it is whole but that nothing was raised. */
async function textOf(client, sdk) {
  const owner = sdk === "anthropic" ? client.messages : client.chat.completions;
  const pieces = [];
  for await (const event of await owner.create({ ...CALLS[sdk].text.arguments, stream: true })) {
    pieces.push((sdk === "anthropic" ? event.delta?.text : event.choices[0]?.delta.content) ?? "");
  }
  return pieces.join("");
}

/** The error that asking ends with. */
async function errorOf(...request) {
  try {
    await ask(...request);
  } catch (error) {
    return error;
  }
  return assert.fail("an answer came");
}

for (const sdk of Object.keys(CALLS)) {
  const { AuthenticationError, BadRequestError, InternalServerError } = CLASSES[sdk];
  for (const manner of MANNERS) {
    test(`${sdk} ${manner}: a wrong client key is an authentication error and goes nowhere`, () =>
      withRig(sdk, async (rig) => {
        const error = await errorOf(rig.client({ apiKey: "not-the-key" }), sdk, manner);
        assert.ok(error instanceof AuthenticationError, error);
        assert.equal(error.headers.get("x-should-retry"), "false");
        assert.deepEqual(await rig.ask("requests", "first"), []);
      }));

    test(`${sdk} ${manner}: a bad request is told in the upstream's own words`, () =>
      withRig(sdk, async (rig) => {
        await rig.ask("behave", "first", "400");
        const error = await errorOf(rig.client(), sdk, manner);
        assert.ok(error instanceof BadRequestError, error);
        assert.match(error.message, /messages.*[Ff]ield required/);
        assert.equal(error.requestID, "req_upstream");
        assert.equal((await rig.ask("endpoint", "first")).failures, 0);
        assert.deepEqual(await rig.ask("requests", "second"), []);
      }));

    test(`${sdk} ${manner}: with every endpoint out the gateway says so itself`, () =>
      withRig(sdk, async (rig) => {
        await rig.ask("behave", "first", "500");
        await rig.ask("behave", "second", "500");
        const client = rig.client();
        // The upstreams' own answer, as long as there is one to pass on.
        let error = await errorOf(client, sdk, manner);
        assert.equal(error.status, 500);
        for (let times = 0; times < 10 && error.status === 500; times++) error = await errorOf(client, sdk, manner);
        assert.ok(error instanceof InternalServerError, error);
        assert.equal(error.status, 503);
        const seconds = Number(error.headers.get("retry-after"));
        assert.ok(seconds >= 1 && seconds <= 59, `retry-after: ${seconds}`);
        assert.ok(error.message.includes(error.headers.get("x-qcc-request-id")), error.message);
        assert.equal(error.headers.get("x-qcc-endpoint"), null, "no attempt was made");
      }));
  }

  for (const how of ["closes", "ends"]) {
    test(`${sdk}: a stream that ${how} after any of its events is shown whole, or the error is`, () =>
      withRig(sdk, async (rig) => {
        const client = rig.client();
        await ask(client, sdk, "streamed");
        const [{ answer }] = await rig.ask("requests", "first");
        const became = [];
        for (let point = 0; point <= answer.length; point++) {
          await rig.ask("behave", "first", `${how} after ${point}`);
          const asked = (await rig.ask("requests", "second")).length;
          const told = await textOf(client, sdk).catch((error) => error);
          const isHidden = (await rig.ask("requests", "second")).length > asked;
          if (told instanceof Error) {
            assert.ok(told instanceof CLASSES[sdk].APIError, told);
            assert.match(told.message, /Trying again may help/);
            assert.equal(isHidden, false);
          } else {
            assert.equal(told, TEXT, `after ${point} events`);
          }
          became.push(told instanceof Error ? 1 : isHidden ? 0 : 2);
          // So few failures isolate nobody.
          await rig.ask("behave", "first", "sound");
          await ask(client, sdk, "streamed");
          await ask(client, sdk, "streamed");
        }
        assert.deepEqual(became, [...became].sort());
        assert.deepEqual([...new Set(became)], [0, 1, 2], "hidden, told, whole");
      }));
  }

  test(`${sdk}: a stream that breaks is never taken for a whole answer`, () =>
    withRig(sdk, async (rig) => {
      await rig.ask("behave", "first", "cuts streams");
      const error = await errorOf(rig.client(), sdk, "streamed");
      assert.ok(error instanceof CLASSES[sdk].APIError, error);
      const row = await rig.ask("endpoint", "first");
      assert.deepEqual([row.failures, row.consecutive_failures], [1, 1]);
      assert.deepEqual(await rig.ask("requests", "second"), []);
    }));
}
