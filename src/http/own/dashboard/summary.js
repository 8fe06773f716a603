// The row of figures above the queues.

import { Sparkline, greatest, latest, summed } from "./chart.js";
import { byId, el, setAttribute, setText } from "./dom.js";
import { count, millis, percent, rate } from "./format.js";
import { t } from "./words.js";

class Tile {
  constructor(name, chart = null) {
    this.value = el("span", { class: "value" });
    this.unit = el("span", { class: "unit" });
    this.note = el("span", { class: "note" });
    this.chart = chart;
    this.node = el(
      "div",
      { class: chart ? "tile wide" : "tile", "data-tile": name },
      el("dt", {}, t(`tile.${name}`)),
      el("dd", {}, this.value, this.unit, this.note, chart?.node ?? null),
    );
  }

  update(value, note, tone = null, unit = "") {
    setText(this.value, value);
    setText(this.unit, unit);
    setText(this.note, note);
    setAttribute(this.node, "data-tone", tone);
  }
}

export class Summary {
  constructor() {
    this.rate = new Tile("rate", new Sparkline("calm"));
    this.success = new Tile("success", new Sparkline("bad", "columns"));
    this.latency = new Tile("latency", new Sparkline("calm"));
    this.retries = new Tile("retries", new Sparkline("warn", "columns"));
    this.parked = new Tile("parked");
    this.leaks = new Tile("leaks");
    const tiles = [this.rate, this.success, this.latency, this.retries, this.parked, this.leaks];
    byId("summary").append(...tiles.map((tile) => tile.node));
  }

  update(stats) {
    const { series } = stats;
    const flight = stats.endpoints.reduce((sum, row) => sum + row.in_flight, 0);
    // The last step is under way: as a rate it would be too low.
    const perSecond = series.requests.slice(0, -1).map((requests) => requests / series.step);
    this.rate.update(
      rate(stats.requests_per_second),
      t("tile.rate.note", { total: count(stats.total_requests), in_flight: count(flight) }),
      null,
      t("tile.rate.unit"),
    );
    this.rate.chart.update(perSecond, t("chart.rate", { now: rate(perSecond.at(-1)), most: rate(greatest(perSecond)) }));
    this.success.update(
      percent(stats.success_rate),
      t("tile.success.note", {
        failed: count(stats.failed_requests),
        rejected: count(stats.rejected_requests),
        cancelled: count(stats.cancelled_requests),
      }),
      stats.success_rate < 98 ? "bad" : stats.success_rate < 99.5 ? "warn" : "ok",
    );
    this.success.chart.update(series.errors, t("chart.errors", { sum: count(summed(series.errors)) }));
    const average = stats.total_requests > 0 ? stats.avg_response_time * 1000 : null;
    const times = series.latency_ms;
    const now = latest(times) ?? average;
    this.latency.update(millis(now), t("tile.latency.note", { time: millis(average) }));
    this.latency.chart.update(times, t("chart.latency", { now: millis(now), most: millis(greatest(times)) }));
    this.retries.update(count(stats.retries), t("tile.retries.note"));
    this.retries.chart.update(series.retries, t("chart.retries", { sum: count(summed(series.retries)) }));
    this.parked.update(count(stats.parked), t("tile.parked.note"), stats.parked > 0 ? "warn" : null);
    const leaks = stats.leaks > 0;
    this.leaks.update(count(stats.leaks), t(leaks ? "tile.leaks.some" : "tile.leaks.none"), leaks ? "bad" : "ok");
  }
}

/** Whose clients no endpoint can serve, for all that are switched on are isolated: by profile and protocol. */
function unserved(rows) {
  const served = new Map();
  for (const { profiles, protocol, standing } of rows.filter((row) => row.standing !== "disabled")) {
    for (const profile of profiles) {
      const whose = `${profile} (${protocol})`;
      served.set(whose, served.get(whose) || standing !== "failure");
    }
  }
  return [...served.keys()].filter((whose) => !served.get(whose));
}

/** What the whole comes to, in one line. */
export function verdict(stats) {
  const rows = stats.endpoints;
  const rests = (row) => row.cooldowns.some((cooldown) => cooldown.model === null);
  const usable = (queue) => rows.filter((row) => row.standing === queue);
  const primaries = usable("primary");
  const secondaries = usable("secondary");
  const serve = (queue) => queue.some((row) => !rests(row) && row.status !== "exhausted");
  const isolated = stats.failure_queue_size;
  if (primaries.length + secondaries.length === 0) return { tone: "bad", words: t("verdict.none") };
  const nobodys = unserved(rows);
  if (nobodys.length > 0) return { tone: "bad", words: t("verdict.unserved", { list: nobodys.join(", ") }) };
  if (serve(primaries)) {
    const words = isolated > 0 ? t("verdict.mixed", { n: isolated }) : t("verdict.primary");
    return { tone: isolated > 0 ? "warn" : "ok", words };
  }
  if (serve(secondaries)) return { tone: "warn", words: t("verdict.secondary") };
  return { tone: "warn", words: t("verdict.resting") };
}
