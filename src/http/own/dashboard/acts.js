// What an admin does. Each act asks first, and says afterwards what came of it.

import { Lost, act, reload } from "./api.js";
import { byId } from "./dom.js";
import { millis } from "./format.js";
import { t } from "./words.js";

/** How long what came of it is shown. */
const SHOWN = 8000;

export class Acts {
  /** `afterwards` is called when something may have changed. */
  constructor(afterwards) {
    this.afterwards = afterwards;
    this.dialog = byId("ask");
    byId("reload").hidden = false;
    byId("reload").addEventListener("click", () => this.ask("reload", null));
    this.dialog.addEventListener("close", () => this.answered());
    this.dialog.addEventListener("click", (event) => {
      // The second click of a double one was meant for what lies beneath, and is no answer.
      if (event.detail > 1) event.preventDefault();
      // A click beside the dialog closes it: what lies within is its form.
      else if (event.target === this.dialog) this.dialog.close("no");
    });
  }

  ask(what, id) {
    if (this.dialog.open) return;
    this.asked = { what, id };
    byId("ask-title").textContent = t(`ask.${what}`, { id });
    byId("ask-text").textContent = t(`ask.${what}.text`);
    byId("ask-yes").textContent = what === "reload" ? t("reload") : t(`act.${what}`);
    byId("ask-yes").classList.toggle("danger", what === "isolate" || what === "disable");
    this.dialog.returnValue = "no";
    this.dialog.showModal();
  }

  async answered() {
    if (this.dialog.returnValue !== "yes") return;
    const { what, id } = this.asked;
    try {
      this.say(await this.perform(what, id));
    } catch (error) {
      this.say(refusal(error), "bad");
    }
    this.afterwards();
  }

  async perform(what, id) {
    if (what === "reload") {
      const { needs_restart: keys = [] } = await reload();
      return keys.length > 0 ? t("done.reload.restart", { keys: keys.join(", ") }) : t("done.reload");
    }
    if (what !== "verify") {
      await act(id, what);
      return t(`done.${what}`, { id });
    }
    this.say(t("act.running", { id }));
    const { ok, ms, score, error } = await act(id, what);
    return ok ? t("done.passed", { id, ms: millis(ms), score }) : t("done.failed", { id, error });
  }

  say(words, tone = "plain") {
    const toast = byId("toast");
    toast.textContent = words;
    toast.dataset.tone = tone;
    toast.classList.add("shown");
    clearTimeout(this.fading);
    this.fading = setTimeout(() => toast.classList.remove("shown"), SHOWN);
  }
}

function refusal(error) {
  if (error instanceof Lost) return t("act.lost");
  return t("act.refused", { error: error.message });
}
