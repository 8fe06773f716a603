// How the page keeps up with the gateway, and with nobody else.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";

import { card, isLive, look, open } from "./browser.mjs";
import { eventually } from "./gateway.mjs";
import { browserOfFile, isolate, staged } from "./stage.mjs";

const held = browserOfFile();

staged(held, "it comes back by itself after the gateway was away, and says so meanwhile", { restarts: true }, async (stage) => {
  const { gateway } = stage;
  await stage.open({}, async (page) => {
    await isLive(page);
    await isolate(stage);
    await card(page, "main", "failure").waitFor();
    await gateway.restart({
      meanwhile: () => page.getByText(/Connection lost since \d\d:\d\d:\d\d\./).waitFor(),
    });
    await isLive(page);
    await page.locator("#banner").waitFor({ state: "hidden" });
    await card(page, "main", "primary").waitFor();
    await gateway.own("/endpoints/backup/isolate", { method: "POST" });
    await card(page, "backup", "failure").waitFor();
    const told = await page.locator("#timeline li").allInnerTexts();
    assert.deepEqual(told.filter((line) => line.includes("main isolated")), [], "what an earlier run told is gone");
  });
});

staged(held, "many events lead to few looks", {}, async (stage) => {
  const { gateway } = stage;
  await stage.open({}, async (page) => {
    await isLive(page);
    let looks = 0;
    page.on("request", (request) => {
      if (request.url().endsWith("/stats")) looks += 1;
    });
    const began = Date.now();
    for (let times = 0; times < 30; times += 1) {
      for (const act of ["disable", "enable"]) await gateway.own(`/endpoints/backup/${act}`, { method: "POST" });
    }
    await gateway.own("/endpoints/backup/disable", { method: "POST" });
    await card(page, "backup", "disabled").waitFor();
    await eventually("all is told", async () => (await page.locator("#timeline li").count()) >= 61);
    // One a second for events, and the slow ones.
    const most = 2 + ((Date.now() - began) / 1000) * 1.2;
    assert(looks <= most, `${looks} looks, and ${most} at most`);
  });
});

staged(held, "a page that nobody sees asks for nothing, and catches up when it is seen again", {}, async (stage) => {
  const { gateway } = stage;
  await stage.open({ clock: true }, async (page) => {
    await isLive(page);
    const hide = (hidden) =>
      page.evaluate((hidden) => {
        Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
        document.dispatchEvent(new Event("visibilitychange"));
      }, hidden);
    await hide(true);
    const asked = [];
    page.on("request", (request) => asked.push(request.url()));
    await gateway.own("/endpoints/main/isolate", { method: "POST" });
    // Somebody else sees it by then, and longer than the page's own pace goes by: a look would have come.
    await stage.open({}, (other) => card(other, "main", "failure").waitFor());
    await page.clock.runFor(15_000);
    await page.evaluate(() => {});
    assert.deepEqual(asked, []);
    assert.equal(await card(page, "main", "primary").count(), 1);
    await hide(false);
    await card(page, "main", "failure").waitFor();
    await isLive(page);
    await page.locator("#timeline li", { hasText: "main isolated" }).waitFor();
  });
});

staged(held, "where no stream can be had the page looks every few seconds", {}, async (stage) => {
  const { gateway } = stage;
  await stage.open({ clock: true }, async (page) => {
    await isLive(page);
    await page.route("**/__qcc__/events?*", (route, request) =>
      request.headers().accept === "text/event-stream" ? route.fulfill({ status: 503 }) : route.continue(),
    );
    await Promise.all([page.waitForResponse((answer) => answer.status() === 503), page.reload()]);
    await page.clock.fastForward(3000);
    await page.locator('#link[data-state="polling"]').waitFor();
    await gateway.own("/endpoints/main/isolate", { method: "POST" });
    await page.clock.fastForward(5000);
    await card(page, "main", "failure").waitFor();
    await page.locator("#timeline li", { hasText: "main isolated" }).waitFor();
  });
});

staged(held, "what a stream holds back is told all the same", {}, async (stage) => {
  await stage.open({}, async (page) => {
    // As by a proxy that gathers answers, or after a sleep in which the connection was lost.
    await page.addInitScript(() => {
      globalThis.EventSource = class {
        static OPEN = 1;
        readyState = 1;
        close() {}
      };
    });
    await page.reload();
    await isLive(page);
    await stage.gateway.own("/endpoints/main/isolate", { method: "POST" });
    await look(page);
    await page.locator("#timeline li", { hasText: "main isolated" }).waitFor();
  });
});

staged(held, "whatever a proxy says while the gateway is away, the page waits for it", {}, async (stage) => {
  await stage.open({ clock: true }, async (page) => {
    await isLive(page);
    for (const status of [404, 403, 502]) {
      await page.route("**/__qcc__/stats", (route) => route.fulfill({ status, body: "no such service" }));
      await page.clock.fastForward(5000);
      await page.locator('#link[data-state="lost"]').waitFor();
      await Promise.all([page.waitForResponse("**/__qcc__/stats"), page.clock.fastForward(2000)]);
      assert.match(await page.locator("#banner").innerText(), status === 403 ? /HTTP 403/ : /Connection lost since/);
      await page.unroute("**/__qcc__/stats");
      await page.clock.fastForward(3000);
      await isLive(page);
      await page.locator("#banner").waitFor({ state: "hidden" });
    }
  });
});

/** Changes the stats on their way to the page. */
function altered(page, change) {
  return page.route("**/__qcc__/stats", async (route) => {
    const answer = await route.fetch();
    const json = await answer.json();
    change(json);
    await route.fulfill({ response: answer, json });
  });
}

staged(held, "stats that the page can't read are told, and waited out", {}, async (stage) => {
  const { page, watched, context } = await open(held.browser, stage.gateway.page);
  try {
    await isLive(page);
    await altered(page, ({ endpoints }) => endpoints.forEach((row) => delete row.windows));
    await look(page);
    await page.getByText("Connection lost since").waitFor();
    assert(watched.faults.length > 0);
    await page.unroute("**/__qcc__/stats");
    await isLive(page);
  } finally {
    await context.close();
  }
});

staged(held, "when the gateway comes back as another version, so does the page", {}, async (stage) => {
  await stage.open({}, async (page) => {
    await isLive(page);
    const loaded = page.waitForEvent("load");
    await altered(page, (stats) => {
      stats.version = "99.0.0";
    });
    await look(page);
    await loaded;
    await page.getByText("qcc-gateway 99.0.0").waitFor();
  });
});

staged(held, "behind an address with two versions the page does not load itself again and again", {}, async (stage) => {
  await stage.open({}, async (page) => {
    await isLive(page);
    let [looks, loads] = [0, 0];
    page.on("load", () => {
      loads += 1;
    });
    await altered(page, (stats) => {
      looks += 1;
      stats.version = `99.0.${looks % 2}`;
    });
    await eventually("it has looked often", async () => {
      // One that is being loaded has nobody to tell.
      await look(page).catch(() => {});
      return looks >= 8;
    });
    await isLive(page);
    assert.equal(loads, 1);
  });
});

staged(held, "what was told yesterday has its date", {}, async (stage) => {
  await stage.open({}, async (page) => {
    await page.clock.install();
    await page.reload();
    const times = page.locator("#timeline time").or(page.locator("#logs-lines time"));
    const all = (form) => eventually(`times like ${form}`, async () => {
      const told = await times.allInnerTexts();
      return told.length > 3 && told.every((time) => form.test(time));
    });
    await all(/^\d\d:\d\d:\d\d$/);
    await page.clock.fastForward("26:00:00");
    await all(/^[A-Z][a-z]{2} \d+, \d\d:\d\d:\d\d$/);
  });
});

staged(held, "the page's policy lets no script, style or address of others in", {}, async (stage) => {
  const { page, watched, context } = await open(held.browser, stage.gateway.page);
  try {
    await isLive(page);
    await page.evaluate(async () => {
      const script = document.createElement("script");
      try {
        script.textContent = "globalThis.injected = true";
      } catch {
        // Not even that is let happen.
      }
      document.body.append(script);
      const styled = document.createElement("p");
      styled.setAttribute("style", "color: red");
      await fetch("http://127.0.0.1:9/").catch(() => {});
    });
    assert.equal(await page.evaluate(() => globalThis.injected), undefined);
    const broken = watched.faults.join("\n");
    for (const directive of ["require-trusted-types-for", "style-src", "connect-src"]) {
      assert(broken.includes(directive), `${directive} in ${broken}`);
    }
  } finally {
    await context.close();
  }
});

/** A table of the dashboard's words. Node would not take the file itself for a module. */
async function words(name) {
  const text = await readFile(new URL(`../../src/http/own/dashboard/${name}.js`, import.meta.url));
  return (await import(`data:text/javascript;base64,${text.toString("base64")}`)).default;
}

test("both languages say the same things", async () => {
  const places = (table) =>
    Object.fromEntries(Object.entries(table).map(([key, words]) => [key, (words.match(/\{\w+\}/g) ?? []).sort()]));
  const [english, chinese] = [await words("english"), await words("chinese")];
  assert.deepEqual(places(chinese), places(english));
  assert(Object.values(chinese).every((words) => words !== ""));
});
