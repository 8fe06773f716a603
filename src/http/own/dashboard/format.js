// Numbers and times as people read them, in the browser's language and time zone.

import { language, t } from "./words.js";

const whole = new Intl.NumberFormat(language);
const tenths = new Intl.NumberFormat(language, { maximumFractionDigits: 1 });
const short = new Intl.NumberFormat(language, { notation: "compact", maximumSignificantDigits: 3 });
const dollars = new Intl.NumberFormat(language, { style: "currency", currency: "USD", minimumFractionDigits: 2 });
const timeOfDay = new Intl.DateTimeFormat(language, { timeStyle: "medium", hourCycle: "h23" });
// The month by its name: by number, people read it as they do at home.
const dateAndTime = new Intl.DateTimeFormat(language, {
  month: "short",
  day: "numeric",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
});

const DAY = 24 * 60 * 60 * 1000;

export function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}

export function count(value) {
  if (!isNumber(value)) return t("none");
  return Math.abs(value) < 10_000 ? whole.format(Math.round(value)) : short.format(value);
}

export function rate(value) {
  if (!isNumber(value)) return t("none");
  return value < 100 ? tenths.format(value) : count(value);
}

/** Rounded down: what is not quite 100 is never shown as 100. */
export function percent(value) {
  return isNumber(value) ? `${tenths.format(Math.floor(value * 10) / 10)} %` : t("none");
}

export function money(value) {
  return isNumber(value) ? dollars.format(value) : t("none");
}

export function millis(value) {
  if (!isNumber(value)) return t("none");
  if (value < 1000) return t("unit.ms", { n: value < 10 ? tenths.format(value) : whole.format(Math.round(value)) });
  return value < 60_000 ? t("unit.s", { n: tenths.format(value / 1000) }) : span(value / 1000);
}

/** A time of some seconds, in its two greatest units. */
export function span(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return t("unit.s", { n: s });
  const parts = [
    ["unit.d", Math.floor(s / 86_400)],
    ["unit.h", Math.floor(s / 3600) % 24],
    ["unit.min", Math.floor(s / 60) % 60],
    ["unit.s", s % 60],
  ];
  const first = parts.findIndex(([, n]) => n > 0);
  const shown = parts.slice(first, first + 2).filter(([, n]) => n > 0);
  return shown.map(([unit, n]) => t(unit, { n })).join(" ");
}

/** A time of day; with its date where that is not today's. */
export function clock(moment, now = Date.now()) {
  const date = new Date(moment);
  if (Number.isNaN(date.getTime())) return t("none");
  const isFar = Math.abs(now - date.getTime()) > DAY || date.toDateString() !== new Date(now).toDateString();
  return (isFar ? dateAndTime : timeOfDay).format(date);
}

export function host(url) {
  try {
    return new URL(url).host;
  } catch {
    return url;
  }
}

/** The words for why an endpoint was isolated; a reason that is unknown here is shown as it is called. */
export function reason(name) {
  const words = t(`why.${name}`);
  return words === `why.${name}` ? name : words;
}
