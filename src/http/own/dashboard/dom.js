// Elements. Whatever comes from the gateway becomes text, never markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element with these attributes; children are elements or text, and what is null is left out. */
export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same for drawings. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    setAttribute(node, name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export function byId(id) {
  return document.getElementById(id);
}

/** Changes a text only where it is another one: nothing is drawn or read out again for nothing. */
export function setText(node, text) {
  if (node.textContent !== text) {
    node.textContent = text;
  }
}

/** Null takes the attribute away. */
export function setAttribute(node, name, value) {
  if (value === null || value === undefined) {
    node.removeAttribute(name);
  } else if (node.getAttribute(name) !== String(value)) {
    node.setAttribute(name, value);
  }
}

export function show(node, visible) {
  if (node.hidden === visible) {
    node.hidden = !visible;
  }
}

/** Puts these nodes into a list in this order; moves only what is out of place. What is moved loses the focus. */
export function arrange(list, nodes) {
  nodes.forEach((node, index) => {
    const there = list.children[index] ?? null;
    if (there !== node) list.insertBefore(node, there);
  });
  while (list.children.length > nodes.length) {
    list.lastElementChild.remove();
  }
}

/** A bar that is filled to a share between 0 and 1. What it shows stands beside it in words. */
export class Bar {
  constructor(kind) {
    this.fill = el("span", { class: "fill" });
    this.node = el("span", { class: `bar ${kind}`, "aria-hidden": "true" }, this.fill);
  }

  update(share) {
    const width = `${(100 * Math.min(1, Math.max(0, share))).toFixed(1)}%`;
    if (this.fill.style.width !== width) {
      this.fill.style.width = width;
    }
  }
}
