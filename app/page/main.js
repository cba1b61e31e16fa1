// The page's beginning: language, colours, the key where one is needed; then the parts that live on their own.

import * as ask from "./ask.js";
import { at, tell } from "./dom.js";
import * as live from "./live.js";
import { changeLanguage, remember, remembered, words, write } from "./words.js";

/** Shown once more before the session's cookie runs out; nothing while no key is needed. */
let key = null;
let renewal = 0;

function needKey() {
  at("sign-in").hidden = false;
}

/** Changes the key for a cookie, and again before that runs out. Says whether it was taken. */
async function useKey() {
  const response = await fetch("/api/v1/session", { method: "POST", headers: { "x-api-key": key } });
  if (!response.ok) return false;
  const { expires } = await response.json();
  if (expires) {
    const left = new Date(expires) - Date.now();
    clearTimeout(renewal);
    renewal = setTimeout(() => useKey().catch(() => {}), Math.max(left * 0.7, 1000));
  }
  return true;
}

at("key-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  key = at("key").value.trim();
  const taken = await useKey().catch(() => false);
  tell(at("key-error"), taken ? null : words().keyWrong);
  if (!taken) return;
  at("key").value = "";
  at("sign-in").hidden = true;
  live.again(needKey);
});

function paint(theme) {
  document.documentElement.dataset.theme = theme;
  at("theme").setAttribute("aria-pressed", String(theme === "dark"));
}

at("theme").addEventListener("click", () => {
  const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  remember("theme", theme);
  paint(theme);
});
at("language").addEventListener("click", changeLanguage);

paint(remembered("theme") ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
ask.start(needKey);
live.start(needKey);
write();
