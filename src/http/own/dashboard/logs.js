// The latest lines of the gateway's log, by level and search.

import { Refused, logs } from "./api.js";
import { byId, el, setText, show } from "./dom.js";
import { clock } from "./format.js";
import { t } from "./words.js";

const LINES = 100;
/** How long after the last key the search begins. */
const PAUSE = 300;
/** Between two looks that nobody has called for. */
const BETWEEN = 4500;

function line({ at, level, target, message }) {
  return el(
    "li",
    { "data-level": String(level).toLowerCase() },
    el("time", { datetime: at }, clock(at)),
    el("span", { class: "level" }, level),
    el("span", { class: "target" }, target),
    el("span", { class: "message" }, message),
  );
}

export class Logs {
  constructor() {
    this.panel = byId("logs");
    this.list = byId("logs-lines");
    this.level = byId("logs-level");
    this.search = byId("logs-search");
    this.isThere = true;
    this.shown = "";
    this.asked = 0;
    this.askedAt = -BETWEEN;
    this.level.addEventListener("change", () => this.refresh());
    this.search.addEventListener("input", () => {
      clearTimeout(this.pause);
      this.pause = setTimeout(() => this.refresh(), PAUSE);
    });
    byId("logs-filter").addEventListener("submit", (event) => {
      event.preventDefault();
      this.refresh();
    });
  }

  /** Looks for newer lines, if the last look is a while ago. */
  follow() {
    if (performance.now() - this.askedAt >= BETWEEN) this.refresh();
  }

  async refresh() {
    if (!this.isThere) return;
    this.askedAt = performance.now();
    this.asked += 1;
    const asked = this.asked;
    let lines;
    try {
      lines = await logs(this.level.value, this.search.value.trim(), LINES);
    } catch (error) {
      if (error instanceof Refused) this.refused(error);
      return;
    }
    // An answer that was overtaken by a later question is not what is asked for now.
    if (asked === this.asked) this.update(lines);
  }

  refused({ status, message }) {
    // Where everybody may read the stats the log still wants a token; without that there is no panel.
    if (status === 401 || status === 403) {
      this.isThere = false;
      show(this.panel, false);
    } else if (status < 500) {
      // Such as a log that can't be written at the moment.
      this.update([], message);
    }
  }

  /** Shows these lines; where there are none, these words. */
  update(lines, words = t("logs.empty")) {
    show(this.panel, true);
    show(this.list, lines.length > 0);
    show(byId("logs-empty"), lines.length === 0);
    setText(byId("logs-empty"), words);
    const digest = JSON.stringify(lines);
    if (digest === this.shown) return;
    this.shown = digest;
    const { list } = this;
    const follows = list.scrollHeight - list.scrollTop - list.clientHeight < 24;
    list.replaceChildren(...lines.map(line));
    // Whoever reads further up is left there.
    if (follows) list.scrollTop = list.scrollHeight;
  }
}
