// The gateway's own binary before scripted upstreams, ended whatever becomes of the test.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const BINARY = process.env.QCC_GATEWAY ?? path.join(ROOT, "target/debug/qcc-gateway");
/** Where the system has it: should this process be killed, the gateway ends too. */
const GUARD = spawnSync("setpriv", ["--version"]).status === 0 ? ["setpriv", "--pdeathsig", "TERM", "--"] : [];

/** Verifications come on an admin's word alone, unless a test says otherwise. */
const ON_DEMAND = 'initial_delay = "1h"\ninterval = "1h"';

/** What a test waits for comes within this many milliseconds; only a fault takes longer. */
const LIMIT = 15_000;

/** A free port that nobody is given who asks for any: below those, so that it can be given back and taken again. */
async function quietPort() {
  const range = await readFile("/proc/sys/net/ipv4/ip_local_port_range", "utf8").catch(() => "32768");
  const [lowest] = range.split(/\s/).map(Number);
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * (lowest - 10_000));
    const server = createServer();
    const isFree = await new Promise((resolve) => {
      server.once("listening", () => resolve(true)).once("error", () => resolve(false)).listen(port, "127.0.0.1");
    });
    if (!isFree) continue;
    server.close();
    await once(server, "close");
    return port;
  }
}

export class Gateway {
  /**
   * `endpoints` are upstreams with further lines of settings: `[[upstream, 'queue = "secondary"'], …]`. One that `restarts`
   * has an address that is still its own by then.
   */
  static async start({ endpoints, verifier = ON_DEMAND, log = "", further = "", restarts = false }) {
    const gateway = new Gateway();
    gateway.folder = await mkdtemp(path.join(tmpdir(), "qcc-browser-"));
    gateway.endpoints = endpoints;
    gateway.rest = `[log]\nlevel = "info"\n${log}\n[verifier]\n${verifier}\n${further}\n`;
    gateway.log = [];
    try {
      await gateway.#run(restarts ? await quietPort() : 0);
    } catch (error) {
      await gateway.#end();
      await rm(gateway.folder, { recursive: true });
      throw error;
    }
    return gateway;
  }

  async #run(port) {
    assert(existsSync(BINARY), `${BINARY}: build it with \`cargo build\`, or name another one in QCC_GATEWAY`);
    let settings = `[server]\nport = ${port}\nshutdown_grace = "2s"\n${this.rest}`;
    for (const [upstream, lines = ""] of this.endpoints) {
      settings += `[endpoints.${upstream.name}]\nbase_url = "${upstream.url}"\napi_key = "${upstream.key}"\n${lines}\n`;
    }
    const file = path.join(this.folder, "gateway.toml");
    await writeFile(file, settings);
    const [program, ...words] = [...GUARD, BINARY, "--settings", file];
    // Nothing of the surroundings may reach into the settings.
    const env = { PATH: process.env.PATH };
    this.process = spawn(program, words, { stdio: ["ignore", "ignore", "pipe"], env });
    this.exited = once(this.process, "exit");
    const lines = createInterface({ input: this.process.stderr });
    this.url = await new Promise((resolve, reject) => {
      lines.on("line", (line) => {
        this.log.push(line);
        const listening = /listening on (http:\S+)/.exec(line);
        if (listening) resolve(listening[1]);
      });
      lines.on("close", () => reject(new Error(`the gateway does not listen:\n${this.log.join("\n")}`)));
    });
    this.page = `${this.url}/__qcc__/`;
  }

  /** Ends it, and starts it again at the same address. */
  async restart({ meanwhile = async () => {} } = {}) {
    const port = Number(new URL(this.url).port);
    await this.#end();
    await meanwhile();
    await this.#run(port);
  }

  async #end() {
    if (this.process === undefined) return null;
    if (this.process.exitCode === null && this.process.signalCode === null) this.process.kill("SIGTERM");
    const [status] = await this.exited;
    return status;
  }

  /** It has to end well, and its log must show no secret. */
  async stop() {
    const status = await this.#end();
    await rm(this.folder, { recursive: true });
    assert.equal(status, 0, `the gateway did not end well:\n${this.log.slice(-5).join("\n")}`);
    const shown = this.log.filter((line) => this.endpoints.some(([upstream]) => line.includes(upstream.key)));
    assert.deepEqual(shown, []);
  }

  /** An own route's answer, as somebody at this machine or with a token. */
  async own(route, { method = "GET", token = null } = {}) {
    const headers = token === null ? {} : { authorization: `Bearer ${token}` };
    const answer = await fetch(`${this.url}/__qcc__${route}`, { method, headers });
    assert(answer.ok, `${route}: ${answer.status}`);
    return answer.json();
  }

  /** A message of a client, who may have a key; its status. */
  async message({ model = "claude-haiku-4-5", session = null, key = null, stream = false } = {}) {
    const body = { model, max_tokens: 64, stream, messages: [{ role: "user", content: "Say hello." }] };
    const headers = {
      "content-type": "application/json",
      ...(session && { "x-conversation-id": session }),
      ...(key && { "x-api-key": key }),
    };
    const answer = await fetch(`${this.url}/v1/messages`, { method: "POST", headers, body: JSON.stringify(body) });
    await answer.arrayBuffer();
    return answer.status;
  }

  async endpoint(id, options) {
    const { endpoints } = await this.own("/stats", options);
    return endpoints.find((row) => row.id === id);
  }
}

/** Looks again and again until it finds what it looks for. */
export async function eventually(what, look) {
  const giveUp = Date.now() + LIMIT;
  for (;;) {
    const found = await look();
    if (found) return found;
    assert(Date.now() < giveUp, `not within ${LIMIT} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
