// One endpoint: what it serves, or why it does not.

import { Bar, el, setAttribute, setText, show } from "./dom.js";
import { clock, count, host, millis, money, percent, reason, span } from "./format.js";
import { Rests } from "./rests.js";
import { t } from "./words.js";

const BADGES = [
  "in_use", "draining", "verifying", "exhausted", "resting", "slow_start", "degraded", "unproven", "overruled",
];
const FACTS = ["in_flight", "success", "requests", "weight", "p50", "p95", "p99", "ttft", "tokens", "breaker", "cost"];

/** A definition list whose rows can be left out. */
class Facts {
  constructor(kind, keys) {
    const name = (key) => t(key.includes(".") ? key : `fact.${key}`);
    this.values = new Map(keys.map((key) => [key, el("span")]));
    this.rows = new Map(
      keys.map((key) => [
        key,
        el("div", { "data-fact": key }, el("dt", {}, name(key)), el("dd", {}, this.values.get(key))),
      ]),
    );
    this.node = el("dl", { class: kind }, ...this.rows.values());
  }

  /** Null leaves the row out. */
  set(key, text, title = null) {
    const value = this.values.get(key);
    show(this.rows.get(key), text !== null);
    if (text !== null) setText(value, text);
    setAttribute(value, "title", title);
  }
}

/** Why an endpoint is isolated, and what would bring it back. */
class Why {
  constructor() {
    this.reason = el("p", { class: "reason" });
    this.error = el("code");
    this.todo = el("p", { class: "todo" });
    this.facts = new Facts("history", ["why.since", "why.count", "why.last"]);
    this.lastError = el("code");
    this.bar = new Bar("next");
    this.next = el("p", { class: "next" });
    this.node = el("div", { class: "why" }, this.reason, this.error, this.todo, this.facts.node, this.lastError);
    this.node.append(this.next, this.bar.node);
  }

  update(row) {
    this.row = row;
    const failures = row.consecutive_failures > 1 ? ` ${t("why.failures", { n: row.consecutive_failures })}` : "";
    setText(this.reason, reason(row.isolated_reason) + failures);
    show(this.error, row.last_error !== null);
    setText(this.error, row.last_error ?? "");
    const isTheirs = row.isolated_reason === "credential" || row.isolated_reason === "account";
    const todo = isTheirs ? t(`todo.${row.isolated_reason}`) : row.proven ? "" : t("todo.unproven");
    show(this.todo, todo !== "");
    setText(this.todo, todo);
    this.facts.set("why.count", t("why.count.value", { n: count(row.verify_count) }));
    const last = row.last_verification;
    this.facts.set("why.last", last ? verdictOf(last) : t("verdict.never"));
    const error = last && !last.ok && last.error !== row.last_error ? last.error : null;
    show(this.lastError, error !== null);
    setText(this.lastError, error ?? "");
  }

  tick(now) {
    const { row } = this;
    const ago = span((now - Date.parse(row.isolated_at)) / 1000);
    this.facts.set("why.since", t("why.since.value", { time: clock(row.isolated_at, now), ago }));
    const due = row.next_verification === null ? null : Date.parse(row.next_verification);
    show(this.bar.node, due !== null && row.breaker !== "half_open");
    if (row.breaker === "half_open") {
      setText(this.next, t("next.running"));
    } else if (due === null) {
      setText(this.next, t("next.off"));
    } else if (due <= now) {
      setText(this.next, t("next.now"));
      this.bar.update(1);
    } else {
      setText(this.next, `${t("next.in")} ${span((due - now) / 1000)}`);
      const from = Math.max(Date.parse(row.isolated_at), Date.parse(row.last_verification?.at ?? 0) || 0);
      this.bar.update((now - from) / (due - from));
    }
  }
}

function verdictOf({ at, ok, ms, score }) {
  return t(ok ? "verdict.passed" : "verdict.failed", { time: clock(at), ms: millis(ms), score });
}

function breaker(row) {
  if (row.breaker !== "closed") return t(`breaker.${row.breaker}`);
  const n = row.consecutive_failures;
  return n > 0 ? t("breaker.closed.failures", { n }) : t("breaker.closed");
}

function isRamping(row) {
  return row.effective_weight > 0 && row.effective_weight < row.weight;
}

/** Why an endpoint counts as degraded, as far as that can be told. */
function ease(row) {
  const isDegraded = row.status === "degraded";
  const isResting = isDegraded && row.cooldowns.length > 0;
  const isStarting = isDegraded && isRamping(row);
  return { resting: isResting, slow_start: isStarting, degraded: isDegraded && !isResting && !isStarting };
}

/** Which acts make sense for an endpoint that stands there. */
function actsOf(standing) {
  switch (standing) {
    case "disabled": return ["enable", "verify"];
    case "failure": return ["verify", "disable"];
    default: return ["verify", "isolate", "disable"];
  }
}

export class Card {
  /** `acts` is null where whoever looks may change nothing. */
  constructor(id, acts) {
    this.id = id;
    this.acts = acts;
    this.badges = new Map(
      BADGES.map((name) => [name, el("span", { class: `badge ${name}`, hidden: "" }, t(`badge.${name}`))]),
    );
    for (const name of ["unproven", "overruled"]) {
      setAttribute(this.badges.get(name), "title", t(`badge.${name}.title`));
    }
    this.protocol = el("span", { class: "protocol" });
    this.host = el("span", { class: "host" });
    this.home = el("span", { class: "home" });
    this.profiles = el("span", { class: "profiles" });
    this.why = new Why();
    this.ramp = new Bar("ramp");
    this.facts = new Facts("facts", FACTS);
    this.facts.values.get("weight").after(this.ramp.node);
    this.rests = new Rests();
    this.notes = new Facts("history", ["card.last_error", "card.verified"]);
    this.buttons = el("div", { class: "acts" });
    const title = `card-${id}`;
    this.node = el(
      "li",
      { class: "card", "data-endpoint": id },
      el(
        "article",
        { "aria-labelledby": title },
        el(
          "div",
          { class: "title" },
          el("span", { class: "lamp" }),
          el("h4", { id: title }, id),
          ...this.badges.values(),
        ),
        el("p", { class: "where" }, this.host, this.protocol, this.home, this.profiles),
        this.why.node,
        this.facts.node,
        this.rests.node,
        this.notes.node,
        this.buttons,
      ),
    );
  }

  update(row, now) {
    this.row = row;
    const isIsolated = row.standing === "failure";
    setAttribute(this.node, "data-standing", row.standing);
    setAttribute(this.node, "data-status", row.status);
    this.mark(row, isIsolated);
    setText(this.host, host(row.base_url));
    setAttribute(this.host, "title", row.base_url);
    setText(this.protocol, row.protocol);
    setText(this.home, t("card.home", { queue: t(`queue.${row.home}`) }));
    const isDefault = row.profiles.length === 1 && row.profiles[0] === "default";
    show(this.profiles, !isDefault);
    setText(this.profiles, isDefault ? "" : t("card.profiles", { list: row.profiles.join(", ") }));
    show(this.why.node, isIsolated);
    if (isIsolated) this.why.update(row);
    this.count(row);
    this.rests.update(row);
    const hasFailed = !isIsolated && row.consecutive_failures > 0;
    this.notes.set("card.last_error", hasFailed ? row.last_error : null);
    const last = isIsolated ? null : row.last_verification;
    this.notes.set("card.verified", last ? verdictOf(last) : null, last?.error ?? null);
    show(this.notes.node, hasFailed || last !== null);
    this.offer(row);
    this.tick(now);
  }

  /** In use is never said of an isolated endpoint; a stream that began before its isolation may still drain. */
  mark(row, isIsolated) {
    const marks = {
      in_use: row.in_use && !isIsolated,
      draining: isIsolated && row.in_flight > 0,
      verifying: row.breaker === "half_open",
      exhausted: row.status === "exhausted",
      ...ease(row),
      unproven: !row.proven && !isIsolated && row.standing !== "disabled",
      overruled: row.overruled !== null,
    };
    for (const [name, badge] of this.badges) show(badge, marks[name]);
  }

  count(row) {
    const { facts } = this;
    const { latency_ms: latency, ttft_ms: ttft, tokens } = row;
    const hasServed = row.successes > 0;
    facts.set("in_flight", count(row.in_flight));
    facts.set("success", row.successes + row.failures > 0 ? percent(row.success_rate) : t("none"));
    facts.set("requests", count(row.requests));
    const isPart = isRamping(row);
    const weight = { now: count(row.effective_weight), whole: count(row.weight) };
    facts.set(
      "weight",
      isPart ? t("fact.weight.ramp", weight) : weight.whole,
      isPart ? t("fact.weight.title") : null,
    );
    show(this.ramp.node, isPart);
    this.ramp.update(row.effective_weight / row.weight);
    for (const key of ["p50", "p95", "p99"]) facts.set(key, hasServed ? millis(latency[key]) : t("none"));
    facts.set("ttft", ttft.p50 > 0 ? millis(ttft.p50) : t("none"));
    facts.set(
      "tokens",
      t("fact.tokens.value", { input: count(tokens.input), output: count(tokens.output) }),
      t("fact.tokens.title", { read: count(tokens.cache_read), write: count(tokens.cache_write) }),
    );
    facts.set("breaker", breaker(row));
    facts.set("cost", row.cost === null ? null : money(row.cost));
  }

  /** The buttons; none is drawn anew while it stays the same, so that it keeps the focus. */
  offer(row) {
    const offered = this.acts === null ? [] : actsOf(row.standing);
    const before = [...this.buttons.children];
    const kept = before.filter((button) => offered.includes(button.dataset.act));
    const nodes = offered.map((act) => kept.find((button) => button.dataset.act === act) ?? this.button(act));
    if (nodes.length !== before.length || nodes.some((node, index) => node !== before[index])) {
      const focused = this.buttons.contains(document.activeElement) ? document.activeElement : null;
      this.buttons.replaceChildren(...nodes);
      // Of one that is gone, such as `Disable` once it is disabled, the focus goes to what stands there now.
      const heir = focused?.isConnected ? focused : focused && nodes[0];
      heir?.focus({ preventScroll: true });
    }
    show(this.buttons, offered.length > 0);
  }

  button(act) {
    const button = el("button", { type: "button", "data-act": act }, t(`act.${act}`));
    // A screen reader's list of buttons has many of the same name.
    setAttribute(button, "aria-label", t("act.of", { act: t(`act.${act}`), id: this.id }));
    button.addEventListener("click", () => this.acts.ask(act, this.id));
    return button;
  }

  tick(now) {
    if (this.row.standing === "failure") this.why.tick(now);
    this.rests.tick(now);
  }
}
