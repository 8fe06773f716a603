// A real Chromium, without a window. Each page that a test opens is watched: nothing but the gateway is asked for anything, the
// page's own policy is never broken, and no script fails.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { readFile } from "node:fs/promises";

import { chromium } from "playwright-core";

const FLAGS = [
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const PLACES = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

/** Chromium, or the one that is named in QCC_CHROMIUM. Its profile is a fresh folder that goes with it. */
export function launch() {
  const executablePath = process.env.QCC_CHROMIUM ?? PLACES.find((place) => existsSync(place));
  assert(executablePath, "chromium is missing: install it, or name it in QCC_CHROMIUM");
  // Chromium does not run as root with its sandbox.
  return chromium.launch({ executablePath, args: FLAGS, chromiumSandbox: process.getuid() !== 0, timeout: 60_000 });
}

/** Opens the dashboard with these wishes of its user, and watches it. With `clock` its time can be put forward. */
export async function open(browser, url, { clock = false, ...wishes } = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, locale: "en-GB", ...wishes });
  context.setDefaultTimeout(30_000);
  const watched = { foreign: [], faults: [] };
  const own = new URL(url).origin;
  context.on("request", (request) => {
    if (new URL(request.url()).origin !== own) watched.foreign.push(request.url());
  });
  const page = await context.newPage();
  if (clock) await page.clock.install();
  page.on("pageerror", (error) => watched.faults.push(String(error)));
  page.on("console", (message) => {
    // That an answer was no success, or did not come, is said by the browser itself.
    const isOfNetwork = message.text().startsWith("Failed to load resource") || message.text().includes("net::ERR_");
    if (["error", "warning"].includes(message.type()) && !isOfNetwork) watched.faults.push(message.text());
  });
  await page.addInitScript(() => {
    addEventListener("securitypolicyviolation", (event) => {
      console.error(`policy broken: ${event.violatedDirective} by ${event.blockedURI}`);
    });
  });
  await page.goto(url);
  return { page, watched, context };
}

/** Runs `body` with a page, and looks afterwards at what was watched. */
export async function withPage(browser, url, wishes, body) {
  const { page, watched, context } = await open(browser, url, wishes);
  try {
    await body(page);
    assert.deepEqual(watched, { foreign: [], faults: [] });
  } finally {
    // An answer that a test was just about to change is gone with the page.
    await page.unrouteAll({ behavior: "ignoreErrors" });
    await context.close();
  }
}

/** An endpoint's card, in a queue or wherever it is. */
export function card(page, id, queue = null) {
  const place = queue === null ? "" : `[data-queue="${queue}"] `;
  return page.locator(`${place}[data-endpoint="${id}"]`);
}

export function badge(page, id, name) {
  return card(page, id).locator(`.badge.${name}`);
}

/** Has the page look at the stats now, as one does that comes into view, and waits for its answer. */
export async function look(page) {
  await Promise.all([
    page.waitForResponse("**/__qcc__/stats"),
    page.evaluate(() => document.dispatchEvent(new Event("visibilitychange"))),
  ]);
}

/** Waits until the page follows the gateway's events as they happen. */
export async function isLive(page) {
  await page.locator('#link[data-state="live"]').waitFor();
}

const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** The serious and critical faults that axe finds, in short. */
export async function faultsByAxe(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const grave = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  return grave.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html.slice(0, 120)).join(" | ")}`);
}
