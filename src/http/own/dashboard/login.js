// The login. It works without this script too; with it, a wrong token is told on the page, and the link logs in by itself.

import { Lost, logIn, tokenOfLink } from "./api.js";
import { byId } from "./dom.js";
import { t, translate } from "./words.js";

translate();
const form = byId("login");
const field = byId("token");
const button = form.querySelector("button");

function fault(error) {
  if (error instanceof Lost) return t("login.lost");
  if (error.status === 401) return t("login.wrong");
  if (error.status === 429) return t("login.wait", { seconds: error.seconds });
  return t("login.failed", { error: error.message });
}

async function enter(token) {
  button.disabled = true;
  byId("fault").textContent = "";
  try {
    await logIn(token);
    location.replace(location.pathname);
  } catch (error) {
    byId("fault").textContent = fault(error);
    button.disabled = false;
    field.select();
    field.focus();
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  enter(field.value);
});

const token = tokenOfLink();
if (token) enter(token);
