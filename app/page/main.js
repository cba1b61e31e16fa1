// The page's beginning: language, colours, the key where one is needed; then the parts that live on their own.

import * as ask from "./ask.js";
import { at, tell } from "./dom.js";
import * as live from "./live.js";
import { changeLanguage, remember, remembered, words, write } from "./words.js";

/** Time until another attempt to renew the session while the app is away. */
const RETRY_AFTER_MS = 5000;

/** Shown once more before the session's cookie runs out; nothing while no key is needed. */
let key = null;
let renewal = 0;

/** Asks for a key, or no longer. */
function needKey(needed) {
  at("sign-in").hidden = !needed;
}

/** Changes the key for a cookie, and again before that runs out. Says what is wrong, as the page's words name it. */
async function useKey() {
  clearTimeout(renewal);
  // No key has other signs, and no header can bear them.
  if (!/^[\x21-\x7e]+$/.test(key)) return "keyWrong";
  const renewIn = (delay) => {
    renewal = setTimeout(renew, delay);
  };
  try {
    const response = await fetch("/api/v1/session", { method: "POST", headers: { "x-api-key": key } });
    if (response.status === 401 || response.status === 403) return "keyWrong";
    if (response.ok) {
      const { expires } = await response.json();
      if (expires) renewIn(Math.max((new Date(expires) - Date.now()) * 0.7, 1000));
      return null;
    }
  } catch {
    // Told below, like an answer that says neither yes nor no.
  }
  renewIn(RETRY_AFTER_MS);
  return "keyAway";
}

async function renew() {
  const problem = await useKey();
  if (problem === "keyWrong") needKey(true);
  // It had run out, as after a sleep, or the app was away.
  if (problem === null && !at("sign-in").hidden) enter();
}

function enter() {
  at("key").value = "";
  needKey(false);
  at("question").focus();
  live.again(needKey);
}

at("key-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  key = at("key").value.trim();
  const problem = await useKey();
  tell(at("key-error"), problem && words()[problem]);
  if (!problem) enter();
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
