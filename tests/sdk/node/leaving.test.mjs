// A caller that leaves takes the upstream's request along, and nobody is blamed.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import { withRig } from "./rig.mjs";

const CALLS = JSON.parse(await readFile(new URL("../calls.json", import.meta.url), "utf8"));
/** More than it takes to isolate an endpoint that fails. */
const TIMES = 4;
/** Seconds in which the upstream's request has to be closed. */
const SOON = 1;
/** Seconds for what is no matter of speed. */
const LONG = 20;

function createOf(client, sdk) {
  const owner = sdk === "anthropic" ? client.messages : client.chat.completions;
  return owner.create.bind(owner);
}

/** Ways to leave. Each begins a request, waits until it is under way, and leaves it. */
const WAYS = {
  "a plain request is aborted": async (create, call, isAsked) => {
    const controller = new AbortController();
    const answer = create(call, { signal: controller.signal });
    const refused = assert.rejects(answer, { name: /Error/, message: /abort/i });
    await isAsked();
    controller.abort();
    await refused;
  },
  "a stream is aborted": async (create, call, isAsked) => {
    const controller = new AbortController();
    const stream = await create({ ...call, stream: true }, { signal: controller.signal });
    const events = stream[Symbol.asyncIterator]();
    assert.equal((await events.next()).done, false);
    await isAsked();
    controller.abort();
  },
  "a stream is left by its reader": async (create, call, isAsked) => {
    for await (const _ of await create({ ...call, stream: true })) {
      await isAsked();
      break;
    }
  },
};

for (const sdk of Object.keys(CALLS)) {
  for (const [way, leave] of Object.entries(WAYS)) {
    test(`${sdk}: where ${way}, the upstream's request is closed at once and counts as nothing`, () =>
      withRig(sdk, async (rig) => {
        await rig.ask("behave", "first", "holds");
        const create = createOf(rig.client(), sdk);
        for (let times = 1; times <= TIMES; times++) {
          await leave(create, CALLS[sdk].text.arguments, async () => {
            assert.ok(await rig.ask("asked", "first", times, LONG));
            assert.equal(await rig.ask("left", "first", times, 0), false);
          });
          assert.ok(await rig.ask("left", "first", times, SOON), "the upstream's request is still open");
        }

        const stats = await rig.ask("settled");
        const counted = [stats.cancelled_requests, stats.successful_requests, stats.failed_requests];
        assert.deepEqual(counted, [TIMES, 0, 0]);
        const row = await rig.ask("endpoint", "first");
        assert.deepEqual([row.cancelled, row.failures, row.in_flight, row.standing], [TIMES, 0, 0, "primary"]);
        assert.deepEqual(await rig.ask("requests", "second"), []);

        await rig.ask("behave", "first", "sound");
        await create(CALLS[sdk].text.arguments);
      }));
  }
}
