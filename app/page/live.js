// The key figures as they move (`GET /api/v1/metrics/stream`), and the services and alerts, looked at now and then.

import { at, line, make, say, tell, tile } from "./dom.js";
import { moment, onLanguage, percent, plain, seconds, usd, words } from "./words.js";

/** Time between two looks at services and alerts. */
const LOOK_EVERY_MS = 5000;
/** Time until another attempt where the browser makes none of its own. */
const RETRY_AFTER_MS = 3000;
/** Time without any figures after which the connection counts as dead, as after a sleep, and another is made. Where
    `live.interval` is longer than this, that is how the page gets its figures. */
const QUIET_AFTER_MS = 20000;
/** How long services and alerts may take to be told. */
const PATIENCE_MS = 10000;
/** Figures that a line is drawn through. */
const KEPT = 90;

let message = null;
/** When the figures that stand on the page were made. */
let madeAt = null;
let health = null;
let alerts = null;
/** `connecting`, `live`, `reconnecting`, or `locked`: a key is needed. */
let connection = "connecting";
/** Why there is no connection, where the app says so. */
let refusal = null;
let source = null;
let retry = 0;
let looking = 0;
/** What each tile showed lately. */
const history = new Map();
/** Analyses counted, and when: the rate is worked out over the last of them. */
const counted = [];

/** Watches for as long as the page is open. `needKey` is told whether a key is needed. */
export function start(needKey) {
  onLanguage(draw);
  again(needKey);
}

/** Connects anew at once: a key was given. */
export function again(needKey) {
  watch(needKey);
  look(needKey);
}

function watch(needKey) {
  source?.close();
  const mine = new EventSource("/api/v1/metrics/stream");
  source = mine;
  const anew = (after) => {
    clearTimeout(retry);
    retry = setTimeout(() => {
      become("reconnecting");
      watch(needKey);
    }, after);
  };
  const heard = () => {
    anew(QUIET_AFTER_MS);
    become("live");
  };
  anew(QUIET_AFTER_MS);
  mine.onopen = () => {
    needKey(false);
    heard();
  };
  mine.onmessage = (event) => {
    message = JSON.parse(event.data);
    if (message.type === "metrics") keep(message.data);
    heard();
  };
  mine.onerror = async () => {
    if (source !== mine) return;
    become("reconnecting");
    // After an answer that is no stream a browser gives up; only a request of another kind learns why.
    if (mine.readyState !== EventSource.CLOSED) return;
    anew(RETRY_AFTER_MS);
    const problem = await refused();
    if (source !== mine) return;
    if (problem?.status === 401) {
      lock(needKey);
    } else {
      become("reconnecting", problem?.message);
    }
  };
}

/** Why there is no stream; nothing where there is one, or the app is away. */
async function refused() {
  try {
    const response = await fetch("/api/v1/metrics/stream", { signal: AbortSignal.timeout(PATIENCE_MS) });
    if (!response.ok) return { status: response.status, message: (await response.json()).error.message };
    await response.body.cancel();
  } catch {
    // Away, or what answers is not the app.
  }
  return null;
}

/** Asks for nothing more until a key is given: each attempt without one counts as an attempt to get in. */
function lock(needKey) {
  source?.close();
  clearTimeout(retry);
  clearTimeout(looking);
  become("locked");
  needKey(true);
}

async function look(needKey) {
  clearTimeout(looking);
  try {
    const ask = (path) => fetch(path, { signal: AbortSignal.timeout(PATIENCE_MS) });
    const [one, other] = await Promise.all([ask("/api/v1/health"), ask("/api/v1/alerts")]);
    if (one.status === 401) {
      lock(needKey);
      return;
    }
    health = one.ok ? await one.json() : null;
    alerts = other.ok ? await other.json() : null;
  } catch {
    // The app is away; the connection's badge says so.
  }
  draw();
  clearTimeout(looking);
  if (connection !== "locked") looking = setTimeout(() => look(needKey), LOOK_EVERY_MS);
}

function become(state, why = null) {
  connection = state;
  refusal = why;
  draw();
}

/** All rows of a metric whose labels are these. */
function rows(data, name, labels = {}) {
  const matches = (row) => Object.entries(labels).every(([label, value]) => row.labels[label] === value);
  return (data.metrics[name] ?? []).filter(matches);
}

/** The sum of such rows; nothing where there are none. */
function sum(data, name, labels) {
  const found = rows(data, name, labels);
  return found.length === 0 ? null : found.reduce((all, row) => all + row.value, 0);
}

function share(value) {
  return value == null ? null : value / 100;
}

/** The tiles: name, value, and how it is written. */
const TILES = [
  ["perMinute", (data) => rate(data), (value) => plain(value, 1)],
  ["successRate", (data) => sum(data, "techsapo_wallbounce_success_rate"), percent],
  ["avgConfidence", (data) => sum(data, "techsapo_wallbounce_avg_confidence_5m"), percent],
  ["consensusScore", (data) => sum(data, "techsapo_wallbounce_consensus_score"), percent],
  ["p95", (data) => sum(data, "techsapo_http_p95_response_time"), seconds],
  ["spent", (data) => sum(data, "techsapo_wallbounce_cost_usd") ?? 0, usd],
  ["cpu", (data) => share(sum(data, "techsapo_cpu_usage_percent")), percent],
  ["memory", (data) => share(sum(data, "techsapo_memory_usage_percent")), percent],
];

function keep(data) {
  madeAt = data.time;
  const total = sum(data, "techsapo_wallbounce_requests_total") ?? 0;
  // A total that fell belongs to a state that was begun anew.
  if (counted.length > 0 && counted[counted.length - 1].total > total) counted.length = 0;
  counted.push({ at: data.time, total });
  while (counted.length > 2 && counted[0].at < data.time - 60000) counted.shift();
  for (const [name, value] of TILES) {
    const values = history.get(name) ?? [];
    values.push(value(data));
    history.set(name, values.slice(-KEPT));
  }
}

/** Analyses per minute, over the last minute at most. */
function rate() {
  const [first, last] = [counted[0], counted[counted.length - 1]];
  return last.at > first.at ? ((last.total - first.total) / (last.at - first.at)) * 60000 : null;
}

function draw() {
  drawConnection();
  drawFigures();
  drawServices();
  drawAlerts();
}

function drawConnection() {
  const badge = at("connection");
  say(badge, words()[connection]);
  badge.dataset.state = connection === "live" ? "good" : "warn";
  tell(at("stale"), stale());
}

/** Why the figures are not those of now; nothing where they are. */
function stale() {
  if (refusal != null) return words().unavailable(refusal);
  if (connection === "reconnecting") return words().away(madeAt && moment(madeAt));
  if (message?.type === "unavailable") return words().unavailable(message.data.reason);
  return message?.type === "metrics" && !message.data.leader ? words().standby : null;
}

function drawFigures() {
  if (message?.type !== "metrics") return;
  const data = message.data;
  at("figures").replaceChildren(
    ...TILES.map(([name, , write]) => {
      const values = history.get(name) ?? [];
      return tile(words()[name], write(values[values.length - 1]), line(values));
    }),
  );
  at("budget").replaceChildren(
    ...rows(data, "techsapo_budget_utilization_percent").map((row) => {
      const id = `budget-${row.labels.period}`;
      const meter = make("meter", { id, min: 0, max: 100, low: 80, high: 95, optimum: 0, value: row.value });
      const name = words().budget[row.labels.period] ?? row.labels.period;
      const label = make("label", { for: id }, make("span", { text: name }), make("span", { text: percent(row.value / 100) }));
      return make("div", {}, label, meter);
    }),
  );
  at("providers").replaceChildren(...providers(data));
}

function providers(data) {
  const names = new Set(rows(data, "techsapo_llm_requests_total").map((row) => row.labels.provider));
  (health?.providers ?? []).forEach((one) => names.add(one.provider));
  const found = [...names].sort().map((provider) => {
    const open = rows(data, "techsapo_circuit_breaker_state", { service: provider }).find((row) => row.value === 1);
    const state = open?.labels.state ?? "closed";
    const times = rows(data, "techsapo_llm_response_time_seconds", { provider })[0];
    const cells = [
      percent(sum(data, "techsapo_llm_success_rate_by_provider", { provider })),
      seconds(times ? times.sum / times.count : null),
      plain(sum(data, "techsapo_llm_requests_total", { provider }) ?? 0),
    ];
    return make(
      "tr",
      {},
      make("th", { scope: "row", text: provider }),
      make("td", {}, make("span", { text: words().breaker[state], state: { closed: "good", half_open: "warn", open: "bad" }[state] })),
      ...cells.map((text) => make("td", { class: "number", text })),
    );
  });
  return found.length > 0 ? found : [make("tr", {}, make("td", { colspan: 5, text: words().noProviders }))];
}

function drawServices() {
  if (health == null) return;
  const states = { up: "good", off: null, degraded: "warn", down: "bad" };
  at("services").replaceChildren(
    ...Object.entries(health.services).map(([name, service]) =>
      make(
        "li",
        {},
        make("span", { text: name }),
        make("span", { text: words().service[service.state] ?? service.state, state: states[service.state] }),
        make("small", { text: [words().since(moment(service.since)), service.reason].filter(Boolean).join(" · ") }),
      ),
    ),
  );
  at("footer").textContent = words().footer(health.instance, health.version);
}

function drawAlerts() {
  if (alerts == null) return;
  const firing = alerts.alerts ?? [];
  const state = !alerts.configured
    ? words().alertsOff
    : alerts.reason != null
      ? words().alertsAway(alerts.reason)
      : firing.length === 0
        ? words().noAlerts
        : "";
  say(at("alerts-state"), state);
  const states = { critical: "bad", warning: "warn" };
  at("alerts").replaceChildren(
    ...firing.map((alert) => {
      const name = make("strong", { text: [alert.priority, alert.name].filter(Boolean).join(" ") });
      const since = make("span", { text: ` ${words().since(moment(alert.since))} ` });
      const item = make("li", { state: states[alert.severity] ?? "" }, name, since);
      if (alert.summary) item.append(make("div", { text: alert.summary }));
      if (/^https?:/.test(alert.runbook_url ?? "")) {
        item.append(make("a", { href: alert.runbook_url, rel: "noreferrer", text: words().runbook }));
      }
      return item;
    }),
  );
}
