// The dashboard: puts its parts together.

import { Acts } from "./acts.js";
import { logIn, tokenOfLink } from "./api.js";
import { Board } from "./board.js";
import { Clients } from "./clients.js";
import { byId, setAttribute, setText, show } from "./dom.js";
import { clock, span } from "./format.js";
import { Live } from "./live.js";
import { Logs } from "./logs.js";
import { Summary, verdict } from "./summary.js";
import { Timeline } from "./timeline.js";
import { t, translate } from "./words.js";

/** Between two things that are said to a screen reader. */
const BETWEEN_WORDS = 3000;
/** How long an open stream may be missing before that is shown: it ends now and then, and comes again at once. */
const PATIENCE = 2500;
/** The page loads itself anew no more often than this: behind one address there may be gateways of two versions. */
const BETWEEN_LOADS = 600_000;

translate();
const role = document.documentElement.dataset.role;
const mayChange = role === "admin" || role === "local";
show(byId("logout"), role === "admin" || role === "reader");
show(byId("login"), role === "guest");

const acts = mayChange ? new Acts(() => live.refresh()) : null;
const board = new Board(acts);
const summary = new Summary();
const clients = new Clients();
const timeline = new Timeline();
const logs = new Logs();
let stats = null;
/** Of which version the gateway was when the page was loaded, and so the page's own files. */
let version = null;
/** How far the gateway's clock is ahead of this one, in milliseconds. */
let ahead = 0;
let toSay = [];

const now = () => Date.now() + ahead;

function shown(next) {
  version ??= next.version;
  if (version !== next.version) loadAnew();
  if (stats !== null && stats.start_time !== next.start_time) timeline.clear();
  ahead = Date.parse(next.start_time) + next.uptime * 1000 - Date.now();
  // Until there is something to see, an empty queue would say what nobody knows.
  show(byId("main"), true);
  summary.update(next);
  clients.update(next.clients);
  say(board.update(next, now()));
  if (next.leaks > (stats?.leaks ?? 0)) say([t("say.leaks", { n: next.leaks })]);
  const { tone, words } = verdict(next);
  setAttribute(byId("verdict"), "data-tone", tone);
  setText(byId("verdict").querySelector(".text"), words);
  document.title = tone === "ok" ? "qcc-gateway" : `${words} · qcc-gateway`;
  stats = next;
  about();
  logs.follow();
}

/** Gets the page's files of the present version. */
function loadAnew() {
  const last = Number(sessionStorage.getItem("loadedAnewAt"));
  if (Date.now() - last < BETWEEN_LOADS) return;
  sessionStorage.setItem("loadedAnewAt", Date.now());
  location.reload();
}

function about() {
  const uptime = span((now() - Date.parse(stats.start_time)) / 1000);
  setText(byId("about"), t("about", { version: stats.version, uptime }));
}

/** Says what has happened, now and then, and never the same thing in pieces. */
function say(words) {
  if (words.length === 0) return;
  const isQuiet = toSay.length === 0;
  toSay.push(...words);
  if (isQuiet) {
    setTimeout(() => {
      byId("announcer").textContent = toSay.join(" ");
      toSay = [];
    }, BETWEEN_WORDS);
  }
}

let lost = null;

function changed(state, next) {
  clearTimeout(changed.waiting);
  if (state === "polling" && ["live", "connecting"].includes(byId("link").dataset.state)) {
    changed.waiting = setTimeout(() => link("polling"), PATIENCE);
  } else {
    link(state);
  }
  lost = next;
  banner();
}

function link(state) {
  setAttribute(byId("link"), "data-state", state);
  setText(byId("link").querySelector(".text"), t(`link.${state}`));
}

function banner() {
  show(byId("banner"), lost !== null);
  if (lost === null) return;
  // Without the countdown, which would be read out every second.
  setText(byId("banner"), lost.refusal ?? t("lost.since", { time: clock(lost.since) }));
  const left = (lost.next - Date.now()) / 1000;
  setAttribute(byId("banner"), "data-next", left > 0.5 ? t("lost.next", { time: span(left) }) : t("lost.now"));
}

const live = new Live({
  shown,
  told: (events) => timeline.take(events),
  last: () => timeline.last,
  changed,
  unknown: () => location.reload(),
});

/** The day whose times are shown without a date. */
let today = new Date().toDateString();

/** Lists keep the times that they were given; the next day these need a date. */
function dates() {
  if (today === new Date().toDateString()) return;
  today = new Date().toDateString();
  for (const time of document.querySelectorAll("time")) setText(time, clock(time.dateTime));
}

setInterval(() => {
  if (document.hidden) return;
  banner();
  dates();
  if (stats === null) return;
  board.tick(now());
  about();
}, 1000);

/** A link with a token logs in where that gives more than is there already. */
const token = tokenOfLink();
if (token && role !== "local" && role !== "admin") {
  logIn(token).then(() => location.reload(), () => live.look());
} else {
  live.look();
}
