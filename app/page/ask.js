// A question, and what is told of it while it is answered (`GET /api/v1/wall-bounce/analyze`, server-sent events).

import { at, make, prose, say, tell, tile } from "./dom.js";
import { onLanguage, percent, plain, seconds, usd, words } from "./words.js";

/** What is known of the question: who was asked, the calls as they end, the one that merged the answers if there was one, the answer
    or what went wrong. */
let shown = null;
let source = null;
/** The element of each call. It stays while what it says changes, so that neither focus nor what was unfolded is lost. */
const places = new Map();

/** Lets the form ask. `needKey(true)` is called where a key is needed. */
export function start(needKey) {
  at("ask-form").addEventListener("submit", (event) => {
    event.preventDefault();
    ask(needKey);
  });
  at("question").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) at("ask-form").requestSubmit();
  });
  at("stop").addEventListener("click", () => {
    end({ phase: "stopped" });
    at("ask").focus();
  });
  onLanguage(draw);
}

function ask(needKey) {
  const query = at("question").value.trim();
  if (query === "" || shown?.phase === "asked") return;
  const parameters = new URLSearchParams({ query, task_type: at("tier").value, mode: at("mode").value });
  shown = { phase: "asked", asked: [], calls: [] };
  places.clear();
  at("votes").replaceChildren();
  const mine = new AbortController();
  source = mine;
  const takes = {
    thinking: (told) => step({ asked: told.asked }),
    provider_response: (told) => step({ calls: [...shown.calls, { ...told.call, text: told.response }] }),
    synthesis: (told) => step({ merging: { ...told.call, text: told.response } }),
    final_answer: (told) => end({ phase: "answered", answer: told.answer }),
    error: (told) => end({ phase: "failed", problem: told.error.message }),
  };
  follow(`/api/v1/wall-bounce/analyze?${parameters}`, mine.signal, (name, told) => {
    if (source === mine) takes[name]?.(told);
  }).then(
    (refused) => {
      if (source !== mine) return;
      if (refused?.status === 401) needKey(true);
      end(refused ? { phase: "failed", problem: refused.problem } : { phase: "broken" });
    },
    () => source === mine && end({ phase: "broken" }),
  );
  draw();
}

/** Passes on what is told on a stream of events, until it ends. An `EventSource` would not show why it was refused, and would ask (and
    pay) again after a break. Returns why it was refused, if it was. */
async function follow(path, signal, take) {
  const response = await fetch(path, { signal, headers: { accept: "text/event-stream" } });
  if (!response.ok) {
    const tooLong = response.status === 414 || response.status === 431;
    const problem = tooLong ? words().tooLong : (await response.json()).error.message;
    return { status: response.status, problem };
  }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return null;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const field = (name) => block.split("\n").find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
      const data = field("data");
      if (data) take(field("event"), JSON.parse(data));
      // Whoever follows the page sees each step, also of those that come together.
      await null;
    }
  }
}

function step(more) {
  shown = { ...shown, ...more };
  draw();
}

function end(more) {
  source?.abort();
  source = null;
  step(more);
  // Whoever reads or writes elsewhere meanwhile is left there.
  const idle = [document.body, at("ask")].includes(document.activeElement);
  if (more.phase === "answered" && idle) at("answer").focus({ preventScroll: true });
}

/** Puts all that is known on the page. */
function draw() {
  const running = shown?.phase === "asked";
  at("ask").disabled = running;
  at("stop").hidden = !running;
  say(at("progress"), progress());
  tell(at("ask-error"), shown?.phase === "failed" ? shown.problem : shown?.phase === "broken" ? words().broken : null);
  const answer = shown?.answer;
  drawVotes();
  at("answer").hidden = answer == null;
  if (answer == null) return;
  const analysis = answer.wall_bounce_analysis;
  tell(at("notice"), answer.notice);
  at("verdict").replaceChildren(
    tile(words().confidence, percent(answer.confidence)),
    tile(words().consensus, percent(analysis.consensus)),
    tile(words().cost, usd(analysis.total_cost)),
    tile(words().time, seconds(analysis.processing_time_ms / 1000)),
  );
  at("text").replaceChildren(...prose(answer.response));
  at("reasoning").textContent = answer.reasoning;
}

function progress() {
  switch (shown?.phase) {
    case "asked":
      return shown.calls.length === 0
        ? words().thinking(shown.asked.join(", ") || "…")
        : words().heard(shown.calls.length, Math.max(shown.asked.length, shown.calls.length));
    case "answered":
      return words().done;
    case "stopped":
      return words().stopped;
    default:
      return "";
  }
}

/** Writes each call into its place; those who were asked and will not answer any more lose theirs. */
function drawVotes() {
  const wanted = votes();
  const names = new Set(wanted.map(([name]) => name));
  for (const [name, place] of places) {
    if (!names.has(name)) {
      place.remove();
      places.delete(name);
    }
  }
  for (const [name, call] of wanted) {
    if (!places.has(name)) {
      places.set(name, make("li", {}, make("div")));
      at("votes").append(places.get(name));
    }
    write(places.get(name), name, call);
  }
}

/** Whose place holds which call, in the order of asking; nothing where the call has not ended. */
function votes() {
  if (shown == null) return [];
  const calls = new Map(shown.calls.map((call) => [call.provider, call]));
  // The final votes know the agreement, the calls as they came know their text.
  for (const vote of shown.answer?.wall_bounce_analysis.llm_votes ?? []) {
    calls.set(vote.provider, { ...vote, text: calls.get(vote.provider)?.text });
  }
  const asked = shown.asked.filter((name) => calls.has(name) || shown.phase === "asked");
  const found = [...new Set([...asked, ...calls.keys()])].map((name) => [name, calls.get(name)]);
  if (shown.merging) found.push(["merging", { ...shown.merging, role: words().merging }]);
  return found;
}

/** What stands in a place: above a call's figures, below its text for whoever unfolds it. */
function write(place, name, call) {
  const [above, unfolding] = place.children;
  if (call == null) {
    place.className = "waiting";
    above.replaceChildren(make("strong", { text: name }), words().waiting);
    return;
  }
  const chosen = call.text != null && call.text === shown.answer?.response;
  place.className = chosen ? "chosen" : "";
  above.replaceChildren(...head(call, chosen));
  if (call.text == null) return;
  if (unfolding == null) {
    const text = make("div", { class: "text" }, ...prose(call.text));
    place.append(make("details", {}, make("summary", { text: words().showAnswer }), text));
  } else {
    unfolding.firstChild.textContent = words().showAnswer;
  }
}

function head(call, chosen) {
  const status = chosen ? words().chosen : call.status;
  const state = call.status === "success" ? "good" : "bad";
  const figures = [seconds(call.duration_ms / 1000), usd(call.cost), `${plain(call.input_tokens + call.output_tokens)} tokens`];
  if (call.agreement_score != null) figures.unshift(`${words().agreement} ${percent(call.agreement_score)}`);
  const parts = [
    make("strong", {}, make("span", { text: call.provider }), make("span", { text: status, state })),
    make("div", { text: [call.role, call.model].filter(Boolean).join(" · ") }),
    make("p", { class: "figures-of-call", text: figures.join(" · ") }),
  ];
  if (call.error) parts.push(make("p", { class: "problem", text: call.error.message }));
  return parts;
}
