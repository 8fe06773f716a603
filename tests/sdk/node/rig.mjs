// The gateway's own binary before two scripted upstreams, fresh for each test, and ended whatever becomes of it.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";

const LAUNCHER = fileURLToPath(new URL("../launcher.py", import.meta.url));
const PYTHON = process.env.PYTHON ?? "python3";

/** Runs `body` with a rig of its own. The gateway has to end well, and its log must show no secret. */
export async function withRig(protocol, body) {
  const rig = await Rig.start(protocol);
  try {
    await body(rig);
  } catch (error) {
    await rig.end();
    throw error;
  }
  assert.equal(await rig.end(), 0, "the gateway did not end well");
}

class Rig {
  static async start(protocol) {
    const rig = new Rig();
    // Its input is a pipe from here: should this process die, it ends, and ends what it has started.
    rig.process = spawn(PYTHON, [LAUNCHER, protocol], { stdio: ["pipe", "pipe", "inherit"] });
    rig.exited = once(rig.process, "exit");
    rig.lines = createInterface({ input: rig.process.stdout })[Symbol.asyncIterator]();
    Object.assign(rig, await rig.#read());
    rig.protocol = protocol;
    return rig;
  }

  async #read() {
    const { value, done } = await this.lines.next();
    if (done) {
      throw new Error("the launcher has ended; its words are above");
    }
    return JSON.parse(value);
  }

  /** One verb of the launcher. One at a time. */
  async ask(...words) {
    this.process.stdin.write(`${JSON.stringify(words)}\n`);
    return this.#read();
  }

  /** The exit status. */
  async end() {
    this.process.stdin.end();
    const [status] = await this.exited;
    return status;
  }

  /** A client whose own retries are off: what the gateway does not hide, these tests see. */
  client(further = {}) {
    const options = { apiKey: this.key, maxRetries: 0, timeout: 30_000, ...further };
    return this.protocol === "anthropic"
      ? new Anthropic({ baseURL: this.url, ...options })
      : new OpenAI({ baseURL: `${this.url}/v1`, ...options });
  }
}
