// The queues as somebody sees them: who is where, why, and what an admin does about it.

import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";

import { badge, card, isLive, look } from "./browser.mjs";
import { eventually } from "./gateway.mjs";
import { browserOfFile, isolate, staged } from "./stage.mjs";

const held = browserOfFile();

/** Notes in the page when a card comes to a queue. */
async function noteArrivals(page, id, queue) {
  await page.evaluate(
    ([id, queue]) => {
      const list = document.querySelector(`[data-queue="${queue}"] .cards`);
      globalThis.arrived = new Promise((resolve) => {
        const look = () => list.querySelector(`[data-endpoint="${id}"]`) && resolve(Date.now());
        new MutationObserver(look).observe(list, { childList: true });
        look();
      });
    },
    [id, queue],
  );
}

staged(held, "an endpoint that fails is in the failure column within a second, and in use no longer", {}, async (stage) => {
  const { gateway, main } = stage;
  await stage.open({}, async (page) => {
    await isLive(page);
    // The machine may be busy: of a few isolations the quickest counts.
    const times = [];
    while (times.length < 4 && !(Math.min(...times) < 1000)) {
      main.behave("sound");
      await gateway.own("/endpoints/main/verify", { method: "POST" });
      await gateway.message();
      await card(page, "main", "primary").waitFor();
      await badge(page, "main", "in_use").waitFor();
      await noteArrivals(page, "main", "failure");
      await isolate(stage);
      const arrived = await page.evaluate(() => globalThis.arrived);
      const { isolated_at: isolatedAt } = await gateway.endpoint("main");
      times.push(arrived - Date.parse(isolatedAt));
      assert.equal(await badge(page, "main", "in_use").isVisible(), false);
      assert.equal(await badge(page, "backup", "in_use").isVisible(), true, "what serves instead is marked");
    }
    assert(Math.min(...times) < 1000, `it took ${times} ms`);
  });
});

staged(
  held,
  "an endpoint that has recovered moves back by itself",
  { verifier: 'initial_delay = "300ms"\ninterval = "300ms"' },
  async (stage) => {
    await stage.open({}, async (page) => {
      await isLive(page);
      await isolate(stage);
      await card(page, "main", "failure").waitFor();
      stage.main.behave("sound");
      await card(page, "main", "primary").waitFor();
      await badge(page, "main", "slow_start").waitFor();
      await page.locator("#timeline .kind", { hasText: "recovered" }).waitFor();
      assert.equal(await page.locator('[data-queue="failure"] .empty').isVisible(), true);
    });
  },
);

staged(held, "an isolated card says why, since when, and what would bring it back", {}, async (stage) => {
  await isolate(stage);
  await stage.gateway.own("/endpoints/main/verify", { method: "POST" });
  await stage.open({}, async (page) => {
    const text = await card(page, "main", "failure").locator(".why").innerText();
    for (const words of [
      "It answered with errors. 3 failures in a row.",
      "HTTP 500 api_error",
      /Isolated\s+\d\d:\d\d:\d\d, \d+ s ago/,
      /Verified\s+\d+ ×/,
      /Last verdict\s+\d\d:\d\d:\d\d: failed in .* ms, score 0/,
      /Next verification in (5\d min|1 h)/,
    ]) {
      assert.match(text, typeof words === "string" ? new RegExp(words) : words);
    }
    assert.equal(await card(page, "main").locator('[data-fact="breaker"] dd').innerText(), "open");
    assert.match(await page.locator("#verdict").innerText(), /secondaries serve/);
  });
});

staged(held, "what an upstream says is text, never markup", { log: "upstream_errors = true" }, async (stage) => {
  const message = '<img src="x" onerror="globalThis.injected = true"> <b>bold</b>';
  await isolate(stage, { message });
  await stage.open({}, async (page) => {
    const why = card(page, "main", "failure").locator(".why");
    await why.locator("code", { hasText: "<b>bold</b>" }).first().waitFor();
    await page.locator("#timeline code", { hasText: "<b>bold</b>" }).first().waitFor();
    assert.equal(await page.locator("main b, main img").count(), 0);
    assert.equal(await page.evaluate(() => globalThis.injected), undefined);
  });
});

staged(held, "what only the operator can mend is said so", {}, async (stage) => {
  stage.main.behave(402);
  await stage.gateway.message();
  await stage.open({}, async (page) => {
    const why = card(page, "main", "failure").locator(".why");
    assert.match(await why.innerText(), /Its account is used up\.[^]*Pay the bill or top the account up, then verify\./);
  });
});

staged(held, "verify now asks first, says what came of it, and brings back what passes", {}, async (stage) => {
  const { gateway, main } = stage;
  await isolate(stage);
  await stage.open({}, async (page) => {
    const verify = card(page, "main").getByRole("button", { name: "Verify now: main" });
    const dialog = page.getByRole("dialog", { name: "Verify main now?" });
    await verify.click();
    await dialog.getByRole("button", { name: "Cancel" }).click();
    await dialog.waitFor({ state: "hidden" });
    assert.equal((await gateway.endpoint("main")).verify_count, 0, "nobody has said yes");

    await verify.click();
    await dialog.getByRole("button", { name: "Verify now" }).click();
    await page.locator("#toast.shown", { hasText: "main has failed: HTTP 500" }).waitFor();
    await card(page, "main", "failure").waitFor();

    main.behave("sound");
    await verify.click();
    await dialog.getByRole("button", { name: "Verify now" }).click();
    await page.locator("#toast.shown", { hasText: /main has passed: .*, score \d+/ }).waitFor();
    await card(page, "main", "primary").waitFor();
  });
});

staged(held, "isolate, disable and enable ask first, and the card moves", {}, async (stage) => {
  await stage.open({}, async (page) => {
    for (const [act, question, queue] of [
      ["Isolate", "Isolate backup?", "failure"],
      ["Disable", "Disable backup?", "disabled"],
      ["Enable", "Enable backup?", "failure"],
    ]) {
      await card(page, "backup").getByRole("button", { name: `${act}: backup` }).click();
      const dialog = page.getByRole("dialog", { name: question });
      await dialog.getByRole("button", { name: act }).click();
      await card(page, "backup", queue).waitFor();
      await card(page, "backup").getByText("by an admin", { exact: true }).waitFor({
        state: act === "Disable" ? "visible" : "hidden",
      });
    }
    await page.locator("#timeline li", { hasText: /backup isolated.*by admin 127\.0\.0\.1/ }).waitFor();
    assert.match(await card(page, "backup").locator(".reason").innerText(), /An admin isolated it\./);
  });
});

staged(held, "what is refused is told in the gateway's own words", {}, async (stage) => {
  const { gateway } = stage;
  const file = path.join(gateway.folder, "gateway.toml");
  await stage.open({}, async (page) => {
    await card(page, "backup").getByRole("button", { name: "Isolate: backup" }).click();
    const settings = await readFile(file, "utf8");
    await writeFile(file, settings.slice(0, settings.indexOf("[endpoints.backup]")));
    await gateway.own("/reload", { method: "POST" });
    await page.getByRole("dialog").getByRole("button", { name: "Isolate" }).click();
    await page.locator("#toast.shown", { hasText: "Refused: no endpoint has this id" }).waitFor();
  });
});

staged(
  held,
  "a profile that nobody serves is told, though others are served",
  { main: 'profiles = ["default", "research"]' },
  async (stage) => {
    await stage.gateway.own("/endpoints/main/isolate", { method: "POST" });
    await stage.open({}, async (page) => {
      await page.getByText("No endpoint is usable for research (anthropic)", { exact: true }).waitFor();
      await stage.gateway.own("/endpoints/main/disable", { method: "POST" });
      await page.locator("#verdict", { hasText: "secondaries serve" }).waitFor();
    });
  },
);

staged(held, "a rest is shown with its model and its countdown, and is no isolation", {}, async (stage) => {
  stage.main.behave(429, { headers: { "retry-after": "90" } });
  await stage.gateway.message();
  await stage.open({}, async (page) => {
    const rest = card(page, "main", "primary").locator(".rests .cooldown");
    await rest.waitFor();
    const read = async () => (await rest.innerText()).replace(/\s+/g, " ");
    assert.match(await read(), /Rate limit · claude-haiku-4-5 (1 min \d+ s|1 min|\d+ s) left/);
    const before = await read();
    await eventually("it counts down", async () => (await read()) !== before);
    await badge(page, "main", "resting").waitFor();
  });
});

staged(held, "what drains from an isolated endpoint is not called in use", {}, async (stage) => {
  const { gateway, main } = stage;
  main.behave("hold");
  const answer = gateway.message();
  await eventually("it is under way", async () => (await gateway.endpoint("main")).in_flight === 1);
  await gateway.own("/endpoints/main/isolate", { method: "POST" });
  await stage.open({}, async (page) => {
    await card(page, "main", "failure").waitFor();
    await badge(page, "main", "draining").waitFor();
    assert.equal(await badge(page, "main", "in_use").isVisible(), false);
    main.release();
    assert.equal(await answer, 200);
    await look(page);
    await badge(page, "main", "draining").waitFor({ state: "hidden" });
  });
});

staged(held, "the figures are those of the stats, and a leak is a warning in red", {}, async (stage) => {
  const { gateway } = stage;
  for (let sent = 0; sent < 3; sent += 1) await gateway.message();
  await stage.open({}, async (page) => {
    const tile = (name) => page.locator(`[data-tile="${name}"]`);
    await tile("rate").getByText("3 since the start").waitFor();
    assert.equal(await tile("success").locator(".value").innerText(), "100 %");
    assert.equal(await tile("leaks").getAttribute("data-tone"), "ok");
    for (const name of ["rate", "success", "latency", "retries"]) {
      const drawing = tile(name).getByRole("img");
      assert.match(await drawing.getAttribute("aria-label"), /last ten minutes: .*\d/);
      assert.notEqual(await drawing.locator(".line").getAttribute("d"), "", name);
    }
    const tokens = await card(page, "main").locator('[data-fact="tokens"] dd').innerText();
    assert.equal(tokens, "3,600 in, 252 out");
    assert.equal(await page.locator("#clients").isVisible(), false, "where nobody has a name there is no table");

    // No gateway leaks on demand: the page is given what one would say that had.
    await page.route("**/__qcc__/stats", async (route) => {
      const answer = await route.fetch();
      await route.fulfill({ response: answer, json: { ...(await answer.json()), leaks: 2 } });
    });
    await page.reload();
    await page.locator('[data-tile="leaks"][data-tone="bad"]').waitFor();
    assert.match(await tile("leaks").innerText(), /⚠ 2|2[^]*Please report this/);
  });
});

staged(held, "the log can be searched and filtered", {}, async (stage) => {
  await isolate(stage);
  await stage.open({ clock: true }, async (page) => {
    const lines = page.locator("#logs-lines li");
    await lines.filter({ hasText: "endpoint main isolated" }).first().waitFor();
    await page.getByLabel("Level").selectOption("warn");
    await lines.filter({ hasText: "request id=" }).first().waitFor({ state: "detached" });
    await page.getByLabel("Search").fill("no line has this");
    await page.getByText("No line fits.").waitFor();
    await page.getByLabel("Search").fill("isolated");
    await lines.filter({ hasText: "endpoint main isolated" }).first().waitFor();

    const error = "the log can't be written: nobody reads it";
    await page.route("**/__qcc__/logs?*", (route) => route.fulfill({ status: 409, json: { error } }));
    // Nobody asks: it keeps up by itself.
    await page.clock.fastForward(5000);
    await page.getByText(error).waitFor();
    await page.unroute("**/__qcc__/logs?*");
    await page.clock.fastForward(5000);
    await lines.filter({ hasText: "endpoint main isolated" }).first().waitFor();
  });
});

staged(held, "a browser that prefers Chinese gets Chinese", {}, async (stage) => {
  await isolate(stage);
  await stage.open({ locale: "zh-CN" }, async (page) => {
    await card(page, "main", "failure").waitFor();
    assert.equal(await page.locator("html").getAttribute("lang"), "zh-CN");
    assert.match(await card(page, "main").locator(".reason").innerText(), /^它返回了错误。/);
    await page.getByRole("heading", { name: "故障队列" }).waitFor();
    await card(page, "main").getByRole("button", { name: "立即验证" }).click();
    await page.getByRole("dialog", { name: "现在验证 main？" }).waitFor();
  });
  await stage.open({ locale: "fr-FR" }, async (page) => {
    await card(page, "main", "failure").waitFor();
    assert.equal(await page.locator("html").getAttribute("lang"), "en", "what there are no words for is English");
  });
});

staged(
  held,
  "each client has a row of its own",
  { further: '[clients.alice]\nkey = "a"\nteam = "search"\n[clients.bob]\nkey = "b"' },
  async (stage) => {
    await stage.gateway.message({ key: "a" });
    await stage.open({}, async (page) => {
      const row = page.getByRole("row", { name: /^alice / });
      await row.waitFor();
      assert.match((await row.innerText()).replace(/\s+/g, " "), /^alice search 0 1 100 % 0 0 1,200 in, 84 out/);
    });
  },
);
