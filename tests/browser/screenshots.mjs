// The README's pictures: a real gateway with some minutes of traffic behind it, in which what can go wrong does.

import { stat, writeFile } from "node:fs/promises";
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

import { isLive, launch, open } from "./browser.mjs";
import { Gateway } from "./gateway.mjs";
import { Upstream } from "./upstream.mjs";

const FOLDER = fileURLToPath(new URL("../../docs/", import.meta.url));
/** As long as the page's own drawings reach back. */
const MINUTES = Number(process.argv[2] ?? 10);
const MOST_BYTES = 200_000;

const SETTINGS = `
[clients.alice]
key = "alice"
team = "search"
[clients.bob]
key = "bob"
team = "search"
[clients.nightly]
key = "nightly"
[prices."claude-haiku-*"]
input = 1.0
output = 5.0
cache_read = 0.1
cache_write = 1.25
`;

const VERIFIER = 'initial_delay = "5s"\ninterval = "60s"\nslow_start = "90s"';
const MODELS = ["claude-haiku-4-5", "claude-sonnet-4-5"];

const wait = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

/** What an account's answers tell of its windows. */
function windows(five, seven) {
  const reset = (hours) => String(Math.floor(Date.now() / 1000 + hours * 3600));
  return {
    "anthropic-ratelimit-unified-5h-utilization": String(five),
    "anthropic-ratelimit-unified-5h-reset": reset(1.2),
    "anthropic-ratelimit-unified-7d-utilization": String(seven),
    "anthropic-ratelimit-unified-7d-reset": reset(76),
  };
}

const names = ["anthropic-eu", "anthropic-us", "team-key", "relay-north", "relay-south", "spare"];
const upstreams = Object.fromEntries(await Promise.all(names.map(async (name) => [name, await Upstream.start(name)])));
const secondary = 'queue = "secondary"';
const gateway = await Gateway.start({
  endpoints: [
    [upstreams["anthropic-eu"]],
    [upstreams["anthropic-us"], "weight = 50"],
    [upstreams["team-key"], "weight = 20"],
    [upstreams["relay-north"], secondary],
    [upstreams["relay-south"], `${secondary}\npriority = 1`],
    [upstreams.spare, `${secondary}\nenabled = false`],
  ],
  verifier: VERIFIER,
  further: SETTINGS,
});

const behave = (name, behaviour, further) => upstreams[name].behave(behaviour, further);
const sound = {
  "anthropic-eu": { delay: 320, headers: windows(0.58, 0.31) },
  "anthropic-us": { delay: 420, headers: windows(0.86, 0.44) },
  "team-key": { delay: 380 },
  "relay-north": { delay: 700 },
  "relay-south": { delay: 900 },
  spare: { delay: 500 },
};
for (const name of names) behave(name, "sound", sound[name]);

let isOpen = true;
/** Clients that talk, each at its own pace, more and less by turns. */
async function talk(client, pause) {
  for (let sent = 0; isOpen; sent += 1) {
    const swing = 1 + 0.6 * Math.sin(Date.now() / 60_000 + client.length);
    await wait(pause * swing * (0.5 + Math.random()));
    const model = MODELS[sent % 5 === 0 ? 1 : 0];
    const session = `${client}-${sent % 9}`;
    await gateway.message({ key: client, model, session, stream: sent % 3 > 0 }).catch(() => {});
  }
}
const clients = [talk("alice", 0.5), talk("alice", 0.9), talk("bob", 0.7), talk("bob", 1.1), talk("nightly", 1.6)];

// The relays serve too, in the first seconds.
for (const name of ["anthropic-eu", "anthropic-us", "team-key"]) behave(name, 429, { headers: { "retry-after": "6" } });
await wait(4);
behave("relay-north", 429, { headers: { "retry-after": "3" } });
await wait(4);
for (const name of names) behave(name, "sound", sound[name]);
const share = MINUTES * 60;
await wait(share * 0.35);
behave("anthropic-us", 500);
await wait(share * 0.15);
behave("anthropic-us", "sound", sound["anthropic-us"]);
await wait(share * 0.25);
behave("team-key", 402);
await wait(share * 0.12);
behave("anthropic-eu", 500);
await wait(Math.max(8, share * 0.03));
behave("anthropic-eu", "sound", sound["anthropic-eu"]);
await wait(share * 0.05);
behave("relay-south", 500);
for (const _ of [1, 2, 3]) {
  behave("relay-north", 429, { headers: { "retry-after": "240" } });
  behave("anthropic-us", 429, { headers: { "retry-after": "2" } });
  behave("anthropic-eu", 429, { headers: { "retry-after": "2" } });
  await wait(3);
}
for (const name of ["anthropic-eu", "anthropic-us"]) behave(name, "sound", sound[name]);
await wait(Math.max(6, share * 0.04));

const browser = await launch();
const files = [];
for (const [name, wishes] of [
  ["dashboard-light", { colorScheme: "light" }],
  ["dashboard-dark", { colorScheme: "dark" }],
  ["dashboard-phone", { colorScheme: "light", viewport: { width: 390, height: 844 }, deviceScaleFactor: 1.5 }],
]) {
  const { page, context } = await open(browser, gateway.page, { viewport: { width: 1440, height: 1180 }, ...wishes });
  await isLive(page);
  // For the log's first lines.
  await wait(2);
  const file = `${FOLDER}${name}.png`;
  await writeFile(file, await page.screenshot({ animations: "disabled", fullPage: wishes.viewport === undefined }));
  files.push(file);
  await context.close();
}
isOpen = false;
await Promise.all(clients);
await browser.close();
await gateway.stop();
await Promise.all(Object.values(upstreams).map((upstream) => upstream.stop()));

for (const file of files) {
  spawnSync("pngquant", ["--force", "--strip", "--quality", "80-100", "--output", file, file]);
  const { size } = await stat(file);
  console.log(`${file}: ${size} bytes`);
  if (size > MOST_BYTES) {
    console.error("that is too much: is pngquant there?");
    process.exitCode = 1;
  }
}
