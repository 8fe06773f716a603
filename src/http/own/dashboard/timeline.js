// The latest queue moves and verifications, newest first.

import { byId, el, show } from "./dom.js";
import { clock, count, millis, reason, span } from "./format.js";
import { knows, t } from "./words.js";

const SHOWN = 100;

const TONES = {
  isolated: "bad",
  recovered: "ok",
  cooldown: "warn",
  exhausted: "warn",
  disabled: "off",
  removed: "off",
};

function isRest({ kind }) {
  return kind === "cooldown" || kind === "exhausted";
}

/** What an endpoint rests for; what is unknown here is shown as it is called. */
function restOf(detail) {
  return knows(`rest.${detail}`) ? t(`rest.${detail}`) : detail;
}

function isPassed(event) {
  return event.detail === "passed" || event.score > 0;
}

/** A conversation's verdict is part of what it is called. */
function name(event) {
  const isConversation = event.kind === "verified" || event.kind === "second_opinion";
  const key = isConversation ? `event.${event.kind}.${isPassed(event) ? "passed" : "failed"}` : `event.${event.kind}`;
  return knows(key) ? t(key) : event.kind;
}

function tone(event) {
  if (event.kind === "verified" || event.kind === "second_opinion") return isPassed(event) ? "pass" : "fail";
  return TONES[event.kind] ?? "plain";
}

function details(event) {
  const parts = [];
  if (event.kind === "isolated" && event.reason) parts.push(reason(event.reason));
  if (event.model) parts.push(event.model);
  const rests = isRest(event);
  if (rests && event.detail) parts.push(restOf(event.detail));
  if (event.ms !== null) parts.push(rests ? t("event.for", { time: span(event.ms / 1000) }) : millis(event.ms));
  if (event.score > 0) parts.push(t("event.score", { score: event.score }));
  const tokens = event.tokens ? event.tokens.input + event.tokens.output : 0;
  if (tokens > 0) parts.push(t("event.tokens", { n: count(tokens) }));
  if (event.by) parts.push(t("event.by", { who: event.by }));
  return parts;
}

function item(event) {
  const error = event.detail && event.detail !== "passed" && !isRest(event) ? event.detail : null;
  return el(
    "li",
    { "data-tone": tone(event), "data-seq": event.seq },
    el("time", { datetime: event.at }, clock(event.at)),
    el(
      "p",
      {},
      event.endpoint ? el("strong", {}, event.endpoint) : null,
      event.endpoint ? " " : null,
      el("span", { class: "kind" }, name(event)),
      ...details(event).map((part) => el("span", { class: "part" }, part)),
      error ? el("code", {}, error) : null,
    ),
  );
}

export class Timeline {
  constructor() {
    this.list = byId("timeline");
    this.empty = byId("timeline-empty");
    this.clear();
  }

  clear() {
    this.last = 0;
    this.list.replaceChildren();
    this.show();
  }

  /** Takes in what is newer than what is there; tells whether anything was. */
  take(events) {
    const fresh = events.filter((event) => event.seq > this.last);
    if (fresh.length === 0) return false;
    this.last = fresh.at(-1).seq;
    this.list.prepend(...fresh.slice(-SHOWN).reverse().map(item));
    while (this.list.children.length > SHOWN) this.list.lastElementChild.remove();
    this.show();
    return true;
  }

  show() {
    const isEmpty = this.list.children.length === 0;
    show(this.list, !isEmpty);
    show(this.empty, isEmpty);
  }
}
