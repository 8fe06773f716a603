// Small drawings of the last ten minutes.

import { isNumber } from "./format.js";
import { setAttribute, svg } from "./dom.js";

const HEIGHT = 32;
/** Room for the line's own width. */
const EDGE = 1.5;

/** A line over its area, or columns. What is no number leaves a gap. */
export class Sparkline {
  constructor(kind, form = "line") {
    this.form = form;
    this.area = svg("path", { class: "area" });
    this.line = svg("path", { class: "line", "vector-effect": "non-scaling-stroke" });
    this.node = svg(
      "svg",
      { class: `spark ${kind}`, role: "img", viewBox: `0 0 100 ${HEIGHT}`, preserveAspectRatio: "none" },
      this.area,
      this.line,
    );
  }

  /** `label` says in words what is seen. */
  update(values, label) {
    const most = Math.max(0, ...values.filter(isNumber));
    const height = (value) => HEIGHT - EDGE - (most > 0 ? value / most : 0) * (HEIGHT - 2 * EDGE);
    const shapes = this.form === "columns" ? columns(values, height) : lines(values, height);
    setAttribute(this.area, "d", shapes.area);
    setAttribute(this.line, "d", shapes.line);
    setAttribute(this.node, "aria-label", label);
  }
}

function at(x, y) {
  return `${x.toFixed(2)} ${y.toFixed(2)}`;
}

function columns(values, height) {
  const step = 100 / values.length;
  const column = (value, index) =>
    isNumber(value) && value > 0
      ? `M${at((index + 0.15) * step, HEIGHT)}V${height(value).toFixed(2)}h${(step * 0.7).toFixed(2)}V${HEIGHT}z`
      : "";
  return { area: values.map(column).join(""), line: `M0 ${HEIGHT - EDGE / 2}H100` };
}

/** Each run of numbers is a line of its own; a lone number is a short one. */
function lines(values, height) {
  const step = 100 / Math.max(1, values.length - 1);
  const shapes = { area: "", line: "" };
  for (let start = 0; start < values.length; start += 1) {
    if (!isNumber(values[start])) continue;
    let end = start;
    while (end + 1 < values.length && isNumber(values[end + 1])) end += 1;
    const points = [];
    for (let index = start; index <= end; index += 1) points.push(at(index * step, height(values[index])));
    if (start === end) points.push(at(Math.min(100, (start + 0.5) * step), height(values[start])));
    shapes.line += `M${points.join("L")}`;
    shapes.area += `M${points.join("L")}V${HEIGHT}H${(start * step).toFixed(2)}z`;
    start = end;
  }
  return shapes;
}

/** What the series of one kind comes to. */
export function summed(values) {
  return values.reduce((sum, value) => sum + value, 0);
}

export function greatest(values) {
  return Math.max(0, ...values.filter(isNumber));
}

export function latest(values) {
  return values.findLast(isNumber) ?? null;
}
