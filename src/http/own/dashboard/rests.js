// What an endpoint has to wait for, though nothing is wrong with it: cooldowns, and what is left of its windows.

import { Bar, arrange, el, setAttribute, setText } from "./dom.js";
import { percent, span } from "./format.js";
import { knows, t } from "./words.js";

/** Below this share a window is shown as nearly used up. */
const LITTLE = 0.2;

class Line {
  constructor(kind) {
    this.name = el("span", { class: "name" });
    this.bar = kind === "window" ? new Bar("window") : null;
    this.rest = el("span", { class: "rest" });
    this.node = el("li", { class: kind }, this.name, this.bar?.node ?? null, this.rest);
  }
}

export class Rests {
  constructor() {
    this.node = el("ul", { class: "rests" });
    this.lines = new Map();
    this.cooldowns = [];
    this.windows = [];
  }

  update(row) {
    this.cooldowns = row.cooldowns;
    this.windows = Object.entries(row.windows);
    const keys = [
      ...this.cooldowns.map((cooldown) => ["cooldown", `${cooldown.reason} ${cooldown.model}`]),
      ...this.windows.map(([name]) => ["window", `window ${name}`]),
    ];
    this.lines = new Map(keys.map(([kind, key]) => [key, this.lines.get(key) ?? new Line(kind)]));
    arrange(this.node, [...this.lines.values()].map((line) => line.node));
    this.node.hidden = this.lines.size === 0;
  }

  tick(now) {
    const left = (moment) => (Date.parse(moment) - now) / 1000;
    for (const cooldown of this.cooldowns) {
      const line = this.lines.get(`${cooldown.reason} ${cooldown.model}`);
      const kind = knows(`rest.${cooldown.reason}`) ? t(`rest.${cooldown.reason}`) : cooldown.reason;
      setText(line.name, `${kind} · ${cooldown.model ?? t("rest.all_models")}`);
      const seconds = left(cooldown.until);
      setText(line.rest, seconds > 0 ? t("rest.ends", { time: span(seconds) }) : t("rest.over"));
    }
    for (const [name, window] of this.windows) {
      const line = this.lines.get(`window ${name}`);
      setText(line.name, t("window.title", { name }));
      line.bar.update(window.left);
      setAttribute(line.node, "data-tone", window.left <= LITTLE ? "warn" : null);
      const parts = [t("window.left", { left: percent(window.left * 100) })];
      if (window.resets_at) parts.push(t("window.resets", { time: span(left(window.resets_at)) }));
      setText(line.rest, parts.join(", "));
    }
  }
}
