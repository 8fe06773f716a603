// Who uses the gateway, and how much: a row for each client.

import { arrange, byId, el, setText, show } from "./dom.js";
import { count, money, percent } from "./format.js";
import { t } from "./words.js";

const COLUMNS = ["client", "team", "in_flight", "requests", "success", "failed", "rejected", "tokens", "cost"];
/** The rows that are shown: those with the most requests. */
const SHOWN = 50;

function cells(row) {
  const ended = row.successes + row.failures;
  return [
    row.id ?? t("clients.nobody"),
    row.team ?? t("none"),
    count(row.in_flight),
    count(row.requests),
    ended > 0 ? percent((100 * row.successes) / ended) : t("none"),
    count(row.failures),
    count(row.rejected),
    t("fact.tokens.value", { input: count(row.tokens.input), output: count(row.tokens.output) }),
    money(row.cost),
  ];
}

export class Clients {
  constructor() {
    this.panel = byId("clients");
    this.rows = new Map();
    this.body = el("tbody");
    const heads = COLUMNS.map((name) => el("th", { scope: "col" }, t(`clients.${name}`)));
    byId("clients-table").append(el("thead", {}, el("tr", {}, ...heads)), this.body);
  }

  /** Where nobody has a name there is nothing to tell apart. */
  update(clients) {
    const shown = [...clients].sort((a, b) => b.requests - a.requests).slice(0, SHOWN);
    this.rows = new Map(shown.map((client) => [client.id, this.rows.get(client.id) ?? this.row()]));
    for (const client of shown) {
      const { children } = this.rows.get(client.id);
      cells(client).forEach((text, index) => setText(children[index], text));
    }
    arrange(this.body, [...this.rows.values()]);
    show(this.panel, shown.some(({ id }) => id !== null));
  }

  row() {
    return el("tr", {}, el("th", { scope: "row" }), ...COLUMNS.slice(1).map(() => el("td")));
  }
}
