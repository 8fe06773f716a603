// For everybody: by keyboard, by screen reader, on a small screen, by day and by night.

import assert from "node:assert/strict";

import { card, faultsByAxe, isLive, look } from "./browser.mjs";
import { browserOfFile, isolate, staged } from "./stage.mjs";

const held = browserOfFile();
const TOKEN = { further: '[admin]\ntoken = "t"' };

for (const colorScheme of ["light", "dark"]) {
  // Without movement, so that nothing is looked at halfway between two colours.
  const wishes = { colorScheme, reducedMotion: "reduce" };

  staged(held, `axe finds no grave fault in the dashboard, ${colorScheme}`, {}, async (stage) => {
    await stage.gateway.message();
    await isolate(stage);
    await stage.gateway.own("/endpoints/backup/disable", { method: "POST" });
    await stage.open(wishes, async (page) => {
      await card(page, "main", "failure").waitFor();
      await isLive(page);
      assert.deepEqual(await faultsByAxe(page), []);
      await card(page, "main").getByRole("button", { name: "Verify now: main" }).click();
      await page.getByRole("dialog").waitFor();
      assert.deepEqual(await faultsByAxe(page), [], "with the question open");
    });
  });

  staged(held, `axe finds no grave fault in the login, ${colorScheme}`, TOKEN, async (stage) => {
    await stage.open(wishes, async (page) => {
      await page.getByLabel("Admin or read token").fill("wrong");
      await page.keyboard.press("Enter");
      await page.getByRole("alert").getByText("does not know").waitFor();
      assert.deepEqual(await faultsByAxe(page), []);
    });
  });
}

for (const locale of ["en-GB", "zh-CN"]) {
  staged(held, `a screen of 360 pixels is never wider than itself, ${locale}`, {}, async (stage) => {
    await isolate(stage);
    await stage.open({ locale, viewport: { width: 360, height: 740 } }, async (page) => {
      await card(page, "main", "failure").waitFor();
      const widths = () => page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
      assert.deepEqual(await widths(), [360, 360]);
      await card(page, "main").locator('[data-act="verify"]').click();
      await page.getByRole("dialog").waitFor();
      assert.deepEqual(await widths(), [360, 360]);
    });
  });
}

staged(held, "the login fits a screen of 360 pixels", TOKEN, async (stage) => {
  await stage.open({ viewport: { width: 360, height: 740 } }, async (page) => {
    await page.getByLabel("Admin or read token").waitFor();
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 360);
  });
});

staged(held, "verify works by keyboard alone, and the focus stays where it was", {}, async (stage) => {
  await isolate(stage);
  stage.main.behave("sound");
  await stage.open({}, async (page) => {
    await card(page, "main", "failure").waitFor();
    const focused = () => page.evaluate(() => document.activeElement?.getAttribute("aria-label") ?? document.activeElement?.id);
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.className), "skip", "the way past the head comes first");
    for (let pressed = 0; (await focused()) !== "Verify now: main"; pressed += 1) {
      assert(pressed < 40, "the button can't be reached");
      await page.keyboard.press("Tab");
    }
    const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
    assert.equal(outline, "solid", "the focus can be seen");
    await page.keyboard.press("Enter");
    assert.equal(await focused(), "ask-no", "the harmless answer comes first");
    await page.keyboard.press("Escape");
    assert.equal(await focused(), "Verify now: main");
    await page.keyboard.press("Enter");
    await page.keyboard.press("Tab");
    assert.equal(await focused(), "ask-yes");
    await page.keyboard.press("Enter");
    await card(page, "main", "primary").waitFor();
    assert.equal(await focused(), "Verify now: main");
  });
});

staged(held, "the focus goes on where its own button is gone", {}, async (stage) => {
  await stage.open({}, async (page) => {
    await card(page, "main", "primary").getByRole("button", { name: "Disable: main" }).focus();
    for (const key of ["Enter", "Tab", "Enter"]) await page.keyboard.press(key);
    await card(page, "main", "disabled").waitFor();
    assert.equal(await page.evaluate(() => document.activeElement.getAttribute("aria-label")), "Enable: main");
  });
});

staged(held, "a double click asks, and does not answer by itself", {}, async (stage) => {
  await stage.open({}, async (page) => {
    const button = card(page, "main").getByRole("button", { name: "Isolate: main" });
    const yes = page.getByRole("dialog").getByRole("button", { name: "Isolate" });
    await button.click();
    const { x, y, width, height } = await yes.boundingBox();
    await page.keyboard.press("Escape");
    const sent = [];
    page.on("request", (request) => request.method() === "POST" && sent.push(request.url()));
    // The button lies where the answer will be.
    await button.evaluate((node, [left, top]) => Object.assign(node.style, { position: "fixed", left, top }), [`${x}px`, `${y}px`]);
    await page.mouse.dblclick(x + width / 3, y + height / 2);
    assert.equal(await yes.isVisible(), true);
    await page.keyboard.press("Escape");
    await look(page);
    assert.deepEqual(sent, []);
    assert.equal((await stage.gateway.endpoint("main")).standing, "primary");
  });
});

staged(held, "a screen reader hears of moves, and of nothing while nothing moves", {}, async (stage) => {
  await stage.open({}, async (page) => {
    await isLive(page);
    await page.evaluate(() => {
      globalThis.heard = [];
      const regions = document.querySelectorAll("[role=status], [role=alert], [aria-live]");
      const observer = new MutationObserver((changes) => globalThis.heard.push(...changes.map(({ target }) => target.textContent)));
      for (const region of regions) observer.observe(region, { childList: true, characterData: true, subtree: true });
    });
    await isolate(stage);
    await page.locator("#announcer", { hasText: "main was isolated. It answered with errors." }).waitFor({ state: "attached" });
    for (let looks = 0; looks < 2; looks += 1) await look(page);
    assert.equal((await page.evaluate(() => globalThis.heard)).length, 1);
  });
});
