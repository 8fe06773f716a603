// What the dashboard asks of the gateway. Everything is at its own origin, below the page's own path.

/** The gateway has refused: `status`, and why in words. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** No answer came at all. */
export class Lost extends Error {}

const PATIENCE = 10_000;

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { cache: "no-store", ...options });
  } catch (error) {
    throw new Lost(String(error));
  }
  let body = null;
  try {
    body = await answer.json();
  } catch {
    // An answer that breaks off, or that something between has made up.
    if (answer.ok) throw new Lost("the answer is no JSON");
  }
  if (!answer.ok) throw new Refused(answer.status, words(body) ?? `HTTP ${answer.status}`);
  return body;
}

/** What an answer says is wrong: a sentence, and behind it each fault of settings on a line of its own. */
function words(body) {
  const error = body?.error?.message ?? body?.error;
  if (typeof error !== "string") return null;
  const fault = ({ key, source, found, wanted }) => `${key} (${source}): ${found}; ${wanted}`;
  return [error, ...(body.faults ?? []).map(fault)].join("\n");
}

function read(path) {
  return ask(path, { signal: AbortSignal.timeout(PATIENCE) });
}

export function stats() {
  return read("stats");
}

export async function eventsAfter(seq) {
  return (await read(`events?after=${seq}`)).events;
}

export async function logs(level, search, lines) {
  const query = new URLSearchParams({ lines, level });
  if (search) query.set("grep", search);
  return (await read(`logs?${query}`)).lines;
}

/** `verify`, `isolate`, `disable` or `enable`. A verification takes as long as it takes. */
export function act(id, what) {
  return ask(`endpoints/${encodeURIComponent(id)}/${what}`, { method: "POST" });
}

export function reload() {
  return ask("reload", { method: "POST" });
}

/** Logs in. Tells nothing: whoever is in gets the dashboard at the next load. */
export async function logIn(token) {
  let answer;
  try {
    // The answer's redirect is not followed: the page is loaded anew afterwards.
    answer = await fetch("login", { method: "POST", body: new URLSearchParams({ token }), redirect: "manual" });
  } catch (error) {
    throw new Lost(String(error));
  }
  if (answer.type === "opaqueredirect") return;
  const refused = new Refused(answer.status, words(await answer.json().catch(() => null)) ?? `HTTP ${answer.status}`);
  refused.seconds = Number(answer.headers.get("retry-after") ?? 0);
  throw refused;
}

/** The token of a link such as `…/__qcc__/#token=…`, which is taken out of the address. */
export function tokenOfLink() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token) history.replaceState(null, "", location.pathname + location.search);
  return token;
}
