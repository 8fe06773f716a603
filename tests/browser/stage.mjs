// What most tests begin with: one browser for the file, and a gateway before fresh upstreams for each test.

import { after, before, test } from "node:test";

import { launch, withPage } from "./browser.mjs";
import { Gateway } from "./gateway.mjs";
import { Upstream } from "./upstream.mjs";

/** No test takes as many milliseconds; one that hangs is told by its name. */
const LIMIT = 120_000;

/** Chromium for all tests of a file. */
export function browserOfFile() {
  const held = {};
  before(async () => {
    held.browser = await launch();
  });
  after(() => held.browser?.close());
  return held;
}

/** A test with a primary `main` and a secondary `backup`, and a gateway with these settings before them. */
export function staged(held, name, settings, body) {
  test(name, { timeout: LIMIT }, async () => {
    const upstreams = [];
    let gateway;
    try {
      for (const id of ["main", "backup"]) upstreams.push(await Upstream.start(id));
      const [main, backup] = upstreams;
      const endpoints = [[main, settings.main], [backup, 'queue = "secondary"']];
      gateway = await Gateway.start({ ...settings, endpoints });
      const stage = { gateway, main, backup };
      /** Opens the dashboard, or another of its addresses. */
      stage.open = (wishes, look, address = gateway.page) => withPage(held.browser, address, wishes, look);
      await body(stage);
      await gateway.stop();
    } catch (error) {
      await gateway?.stop().catch(() => {});
      throw error;
    } finally {
      await Promise.all(upstreams.map((upstream) => upstream.stop()));
    }
  });
}

/** Sends requests until the endpoint is isolated: three failures in a row are enough. */
export async function isolate({ gateway, main }, further = {}) {
  main.behave(500, further);
  for (let sent = 0; sent < 3; sent += 1) await gateway.message({ session: `s${sent}-${Math.random()}` });
}
