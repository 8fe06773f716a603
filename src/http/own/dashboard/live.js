// What keeps the page up to date: the stream of events tells when to look, and every few seconds it looks anyway. While nobody
// can see the page, nothing is asked.

import { Lost, Refused, eventsAfter, stats } from "./api.js";

/** Between two looks that nothing has called for. */
const SLOW = 5000;
/** Between two looks that events have called for. */
const LEAST = 1000;
/** Events that come together are looked at together. */
const GATHER = 60;
/** The first pause before the lost gateway is asked again, and the longest. */
const FIRST_PAUSE = 1000;
const LONGEST_PAUSE = 15_000;
/** While the stream can't be had, it is asked for again after this long at most. */
const LONGEST_DEAF = 60_000;

export class Live {
  /**
   * `shown` takes the stats, `told` events and tells whether any was new, `changed` what becomes of the connection; `unknown`
   * is called where the gateway no longer knows whoever looks.
   */
  constructor({ shown, told, last, changed, unknown }) {
    Object.assign(this, { shown, told, last, changed, unknown });
    this.pause = FIRST_PAUSE;
    this.lostSince = null;
    this.calledAt = -LEAST;
    this.deafFor = 0;
    this.deafUntil = 0;
    document.addEventListener("visibilitychange", () => this.look());
    addEventListener("pagehide", () => this.close());
    addEventListener("online", () => this.lostSince !== null && this.look());
  }

  /** Begins, or begins anew. */
  look() {
    clearTimeout(this.timer);
    if (document.hidden) {
      this.close();
      return;
    }
    this.refresh();
  }

  close() {
    clearTimeout(this.timer);
    clearTimeout(this.called);
    this.called = undefined;
    this.source?.close();
    this.source = undefined;
  }

  /** Looks soon, but not more often than once in a while. */
  call() {
    if (this.called !== undefined || document.hidden) return;
    const wait = Math.max(GATHER, this.calledAt + LEAST - performance.now());
    this.called = setTimeout(() => {
      this.called = undefined;
      this.calledAt = performance.now();
      this.refresh();
    }, wait);
  }

  /** One look at a time; one that is called for meanwhile follows it. */
  async refresh() {
    if (this.busy) {
      this.again = true;
      return;
    }
    this.busy = true;
    clearTimeout(this.timer);
    let next = SLOW;
    try {
      const latest = await stats();
      // Nobody sees it any more, and what follows would ask for more.
      if (document.hidden) return;
      this.shown(latest);
      // Also while the stream is open: one that was cut off in the sleep of this machine, or is held back by a proxy, looks so too.
      const isNew = this.told(await eventsAfter(this.last()));
      this.found();
      // What has happened since the stats were taken is in none that were shown.
      if (isNew) this.call();
    } catch (error) {
      next = this.failed(error);
    } finally {
      this.busy = false;
    }
    if (document.hidden || next === null) return;
    if (this.again && this.lostSince === null) {
      this.again = false;
      this.call();
    }
    this.timer = setTimeout(() => this.refresh(), next);
  }

  found() {
    this.lostSince = null;
    this.pause = FIRST_PAUSE;
    this.listen();
    this.tell();
  }

  /** When to try again, in milliseconds; null for never. What a proxy says while the gateway is away may be any status. */
  failed(error) {
    if (error instanceof Refused && error.status === 401) {
      this.close();
      this.unknown();
      return null;
    }
    // Such as stats that this page can't read: it must neither stand still nor pass for one that is up to date.
    if (!(error instanceof Lost || error instanceof Refused)) reportError(error);
    this.refusal = error instanceof Refused && error.status === 403 ? error.message : null;
    this.lostSince ??= Date.now();
    this.source?.close();
    this.source = undefined;
    const next = this.pause * (0.75 + Math.random() / 2);
    this.pause = Math.min(LONGEST_PAUSE, this.pause * 2);
    this.next = Date.now() + next;
    this.tell();
    return next;
  }

  /** Listens to the events behind the last one that is known. */
  listen() {
    if (this.source !== undefined || document.hidden || performance.now() < this.deafUntil) return;
    const source = new EventSource(`events?after=${this.last()}`);
    this.source = source;
    let hasOpened = false;
    source.onopen = () => {
      hasOpened = true;
      this.deafFor = 0;
      this.tell();
    };
    source.onmessage = ({ data }) => {
      if (this.told([JSON.parse(data)])) this.call();
    };
    // The browser's own way of coming again knows no growing pauses: a later look opens a new one.
    source.onerror = () => {
      source.close();
      if (this.source !== source) return;
      this.source = undefined;
      if (hasOpened) {
        this.call();
      } else {
        this.deafFor = Math.min(LONGEST_DEAF, Math.max(SLOW, this.deafFor * 2));
        this.deafUntil = performance.now() + this.deafFor;
        this.tell();
      }
    };
  }

  tell() {
    const isOpen = this.source?.readyState === EventSource.OPEN;
    const state = this.lostSince !== null ? "lost" : isOpen ? "live" : "polling";
    const lost = this.lostSince === null ? null : { since: this.lostSince, next: this.next, refusal: this.refusal };
    this.changed(state, lost);
  }
}
