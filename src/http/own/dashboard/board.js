// The queues, with the endpoints as cards in them. A card is made once and moves from queue to queue.

import { Card } from "./card.js";
import { arrange, byId, setText, show } from "./dom.js";
import { count, reason } from "./format.js";
import { t } from "./words.js";

const QUEUES = ["primary", "secondary", "failure", "disabled"];
/** How long a card that has moved is marked. */
const MARKED = 2500;

export class Board {
  constructor(acts) {
    this.acts = acts;
    this.cards = new Map();
    this.queues = QUEUES.map((name) => {
      const section = byId("queues").querySelector(`[data-queue="${name}"]`);
      return {
        name,
        section,
        list: section.querySelector(".cards"),
        count: section.querySelector(".count"),
        empty: section.querySelector(".empty"),
      };
    });
  }

  /** Shows this state; what is to be said aloud of the way there comes back. */
  update(stats, now) {
    const rows = new Map(stats.endpoints.map((row) => [row.id, row]));
    const said = [];
    for (const id of [...this.cards.keys()].filter((id) => !rows.has(id))) this.cards.delete(id);
    for (const [id, row] of rows) {
      const card = this.cards.get(id) ?? new Card(id, this.acts);
      const before = card.row?.standing;
      this.cards.set(id, card);
      card.update(row, now);
      if (before !== undefined && before !== row.standing) {
        this.mark(card);
        if (row.standing === "failure") said.push(t("say.isolated", { id, why: reason(row.isolated_reason) }));
        else if (before === "failure" && row.standing === row.home) said.push(t("say.recovered", { id }));
      }
    }
    const focused = document.activeElement;
    for (const queue of this.queues) {
      const ids = (stats.queues[queue.name] ?? []).filter((id) => this.cards.has(id));
      // Where nobody is switched off there is no such queue.
      if (queue.name === "disabled") show(queue.section, ids.length > 0);
      show(queue.list, ids.length > 0);
      if (queue.empty) show(queue.empty, ids.length === 0);
      queue.section.toggleAttribute("data-filled", ids.length > 0);
      setText(queue.count, count(ids.length));
      arrange(queue.list, ids.map((id) => this.cards.get(id).node));
    }
    // It goes with its card from one queue to the other.
    if (document.activeElement !== focused && focused.isConnected) focused.focus({ preventScroll: true });
    return said;
  }

  mark(card) {
    card.node.classList.add("moved");
    setTimeout(() => card.node.classList.remove("moved"), MARKED);
  }

  tick(now) {
    for (const card of this.cards.values()) card.tick(now);
  }
}
