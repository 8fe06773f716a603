// What is said, in the browser's language: Chinese where that comes first, else English.

import chinese from "./chinese.js";
import english from "./english.js";

const TABLES = { en: english, "zh-CN": chinese };

/** The first of the browser's languages that there is a table for. */
export function chosen(languages) {
  for (const language of languages) {
    const short = language.toLowerCase().split("-")[0];
    if (short === "zh") return "zh-CN";
    if (short === "en") return "en";
  }
  return "en";
}

export const language = chosen(globalThis.navigator?.languages ?? []);
const table = TABLES[language];

/** The words of this key, with its `{places}` filled. */
export function t(key, places = {}) {
  const words = table[key] ?? english[key] ?? key;
  return words.replace(/\{(\w+)\}/g, (place, name) => places[name] ?? place);
}

/** Whether there are words of this key. */
export function knows(key) {
  return Object.hasOwn(english, key);
}

/** Translates what stands in the page itself. */
export function translate() {
  document.documentElement.lang = language;
  for (const node of document.querySelectorAll("[data-words]")) {
    node.textContent = t(node.dataset.words);
  }
}
