// Who may see the dashboard, and who may do something there.

import assert from "node:assert/strict";

import { card, isLive } from "./browser.mjs";
import { browserOfFile, staged } from "./stage.mjs";

const held = browserOfFile();
const ADMIN = "admin-token-of-the-suite";
const READER = "read-token-of-the-suite";
const TOKENS = { further: `[admin]\ntoken = "${ADMIN}"\nread_token = "${READER}"` };

async function logIn(page, token) {
  await page.getByLabel("Admin or read token").fill(token);
  await page.getByRole("button", { name: "Log in" }).click();
}

staged(held, "a wrong token is told on the page, a right one leads to the dashboard, and the logout back", TOKENS, async (stage) => {
  await stage.open({}, async (page) => {
    await logIn(page, "wrong");
    await page.getByRole("alert").getByText("does not know this token").waitFor();
    assert.equal(await page.locator(".card").count(), 0);
    await logIn(page, ADMIN);
    await card(page, "main", "primary").waitFor();
    await isLive(page);
    const cookies = await page.context().cookies();
    assert(cookies.every(({ value }) => !value.includes(ADMIN)));
    await page.getByRole("button", { name: "Log out" }).click();
    await page.getByLabel("Admin or read token").waitFor();
  });
});

staged(held, "the link that is shown at start logs in, and its token leaves the address", TOKENS, async (stage) => {
  const link = `${stage.gateway.page}#token=${ADMIN}`;
  await stage.open({}, async (page) => {
    await card(page, "main", "primary").waitFor();
    assert.equal(page.url(), stage.gateway.page);
    // Neither does anything that was asked for show it.
    const asked = await page.evaluate(() => performance.getEntries().map(({ name }) => name));
    assert(asked.every((name) => !name.includes(ADMIN)), String(asked));
  }, link);
});

staged(held, "a link with a wrong token leads to the login", TOKENS, async (stage) => {
  await stage.open({}, async (page) => {
    await page.getByRole("alert").getByText("does not know this token").waitFor();
    assert.equal(page.url(), stage.gateway.page);
  }, `${stage.gateway.page}#token=wrong`);
});

staged(held, "after ten wrong tokens the page says how long to wait", TOKENS, async (stage) => {
  await stage.open({}, async (page) => {
    for (let tried = 0; tried < 10; tried += 1) {
      const answer = page.waitForResponse("**/__qcc__/login");
      await logIn(page, "wrong");
      assert.equal((await answer).status(), 401);
    }
    await logIn(page, ADMIN);
    await page.getByRole("alert").getByText(/Try again in \d+ s\./).waitFor();
  });
});

staged(held, "whoever has the read token sees everything and can change nothing", TOKENS, async (stage) => {
  await stage.open({}, async (page) => {
    await logIn(page, READER);
    await card(page, "main", "primary").waitFor();
    await isLive(page);
    assert.equal(await page.locator(".acts button").count(), 0);
    assert.equal(await page.getByRole("button", { name: "Reload settings" }).isVisible(), false);
    const status = await page.evaluate(async () => (await fetch("endpoints/main/verify", { method: "POST" })).status);
    assert.equal(status, 403);
    // An admin's link gives more than is there already.
    await page.goto(`${stage.gateway.page}#token=${ADMIN}`);
    await page.reload();
    await card(page, "main").getByRole("button", { name: "Verify now: main" }).waitFor();
  });
});

staged(held, "without the form's script the form still logs in", TOKENS, async (stage) => {
  await stage.open({ javaScriptEnabled: false }, async (page) => {
    await logIn(page, ADMIN);
    await page.locator("#logout").waitFor({ state: "attached" });
    assert.match(await page.locator("body").innerText(), /needs JavaScript/);
  });
});

staged(held, "a session that has ended leads back to the login", TOKENS, async (stage) => {
  await stage.open({}, async (page) => {
    await logIn(page, ADMIN);
    await isLive(page);
    await page.context().clearCookies();
    await stage.gateway.own("/endpoints/main/isolate", { method: "POST", token: ADMIN });
    await page.getByLabel("Admin or read token").waitFor();
  });
});

staged(
  held,
  "where everybody may read, the dashboard is there without a token, and the login for admins",
  { further: `${TOKENS.further}\npublic_stats = true` },
  async (stage) => {
    await stage.open({}, async (page) => {
      await isLive(page);
      assert.equal(await page.locator(".acts button").count(), 0);
      assert.equal(await page.locator("#logs").isVisible(), false, "the log is not for everybody");
      await page.getByRole("link", { name: "Log in" }).click();
      await logIn(page, ADMIN);
      await card(page, "main").getByRole("button", { name: "Verify now: main" }).waitFor();
      await page.locator("#logs-lines li").first().waitFor();
    });
  },
);

staged(held, "whoever may not look is told why, and shown nothing", {}, async (stage) => {
  // As from another machine, by way of a proxy.
  await stage.open({ extraHTTPHeaders: { "x-forwarded-for": "192.0.2.1" } }, async (page) => {
    const why = page.getByRole("status").getByText("only for requests from the gateway's own machine");
    await why.waitFor();
    assert.equal(await page.locator("main").isVisible(), false);
    await page.waitForResponse("**/__qcc__/stats");
    assert.equal(await why.isVisible(), true, "it stays, also when the page has asked again");
  });
});
