// What the page says, in English and Japanese, and how it writes numbers.

const WORDS = {
  en: {
    skip: "To the question",
    other: "日本語",
    dark: "Dark",
    connecting: "connecting…",
    live: "live",
    reconnecting: "reconnecting…",
    locked: "key needed",
    keyTitle: "This instance asks for a key",
    keyLabel: "API key",
    keyButton: "Use this key",
    keyHint: "The key stays in this page's memory. The browser gets a cookie that lasts some minutes and that no script can read.",
    keyWrong: "This key opens nothing here.",
    keyAway: "The app cannot say now whether this key is right. Trying again…",
    askTitle: "Ask",
    question: "Question",
    tier: "Tier",
    basic: "basic: 2 providers",
    premium: "premium: 3 providers",
    critical: "critical: 4 providers",
    mode: "Mode",
    parallel: "in parallel",
    sequential: "one after the other",
    ask: "Ask",
    stop: "Stop",
    thinking: (asked) => `Asking ${asked}…`,
    heard: (heard, asked) => `${heard} of ${asked} have answered…`,
    done: "Done.",
    stopped: "Stopped. What was asked already is finished and counted.",
    broken: "The connection broke before the answer came. Ask again when the page is live.",
    tooLong: "The question is too long for this page. POST /api/v1/generate takes longer ones.",
    waiting: "waiting…",
    chosen: "returned",
    merging: "merges the answers",
    showAnswer: "Show this answer",
    answer: "Answer",
    confidence: "Confidence",
    consensus: "Consensus",
    cost: "Cost",
    time: "Time",
    agreement: "agreement",
    none: "none",
    nowTitle: "Right now",
    away: (when) => ["The app cannot be reached.", when && `The figures are those of ${when}.`].filter(Boolean).join(" "),
    unavailable: (reason) => `No live figures: ${reason}`,
    standby: "This exporter is on standby: only its own figures are shown.",
    perMinute: "Analyses per minute",
    successRate: "Success, 5 min",
    avgConfidence: "Confidence, 5 min",
    consensusScore: "Consensus, 5 min",
    p95: "95 % of responses within",
    spent: "Spent in all",
    cpu: "CPU of the host",
    memory: "Memory of the host",
    budget: { daily: "Budget of the day", monthly: "Budget of the month" },
    providersTitle: "Providers",
    provider: "Provider",
    state: "State",
    success: "Success, 5 min",
    meanTime: "Mean time",
    calls: "Calls",
    noProviders: "No figures yet",
    breaker: { closed: "well", half_open: "being tried", open: "left alone" },
    servicesTitle: "Services",
    service: { up: "up", off: "off", degraded: "degraded", down: "down" },
    since: (when) => `since ${when}`,
    alertsTitle: "Alerts",
    noAlerts: "No alert is firing.",
    alertsOff: "Alertmanager is not configured (alertmanager.url).",
    alertsAway: (reason) => `Alertmanager cannot be asked: ${reason}`,
    runbook: "What to do",
    footer: (instance, version) => `${instance}, version ${version}`,
  },
  ja: {
    skip: "質問へ",
    other: "English",
    dark: "ダーク",
    connecting: "接続しています…",
    live: "ライブ",
    reconnecting: "再接続しています…",
    locked: "キーが必要です",
    keyTitle: "このインスタンスには API キーが必要です",
    keyLabel: "API キー",
    keyButton: "このキーを使う",
    keyHint: "キーはこのページのメモリーにだけ置かれます。ブラウザーには、スクリプトから読めない数分間だけ有効な Cookie が渡されます。",
    keyWrong: "このキーは使えません。",
    keyAway: "このキーが正しいかどうか、いまは確認できません。再試行しています…",
    askTitle: "質問する",
    question: "質問",
    tier: "プラン",
    basic: "basic：2 プロバイダー",
    premium: "premium：3 プロバイダー",
    critical: "critical：4 プロバイダー",
    mode: "方式",
    parallel: "並列",
    sequential: "順番に",
    ask: "質問する",
    stop: "中止",
    thinking: (asked) => `${asked} に質問しています…`,
    heard: (heard, asked) => `${asked} 件中 ${heard} 件が回答しました…`,
    done: "完了しました。",
    stopped: "中止しました。送信済みの質問は最後まで処理され、集計されます。",
    broken: "回答の前に接続が切れました。ライブに戻ったら、もう一度質問してください。",
    tooLong: "質問が長すぎます。POST /api/v1/generate はより長い質問を受け付けます。",
    waiting: "待っています…",
    chosen: "採用",
    merging: "回答の統合",
    showAnswer: "この回答を表示",
    answer: "回答",
    confidence: "信頼度",
    consensus: "合意度",
    cost: "コスト",
    time: "時間",
    agreement: "一致度",
    none: "なし",
    nowTitle: "現在の状況",
    away: (when) => ["アプリに接続できません。", when && `${when} 時点の数値を表示しています。`].filter(Boolean).join(""),
    unavailable: (reason) => `ライブの数値がありません：${reason}`,
    standby: "このエクスポーターは待機中です。自身の数値だけを表示しています。",
    perMinute: "分析（毎分）",
    successRate: "成功率（5 分）",
    avgConfidence: "信頼度（5 分）",
    consensusScore: "合意度（5 分）",
    p95: "応答の 95 % がこの時間以内",
    spent: "累計コスト",
    cpu: "ホストの CPU",
    memory: "ホストのメモリー",
    budget: { daily: "今日の予算", monthly: "今月の予算" },
    providersTitle: "プロバイダー",
    provider: "プロバイダー",
    state: "状態",
    success: "成功率（5 分）",
    meanTime: "平均時間",
    calls: "呼び出し",
    noProviders: "まだ数値がありません",
    breaker: { closed: "正常", half_open: "確認中", open: "遮断中" },
    servicesTitle: "サービス",
    service: { up: "稼働", off: "オフ", degraded: "低下", down: "停止" },
    since: (when) => `${when} から`,
    alertsTitle: "アラート",
    noAlerts: "発生中のアラートはありません。",
    alertsOff: "Alertmanager が設定されていません（alertmanager.url）。",
    alertsAway: (reason) => `Alertmanager に問い合わせできません：${reason}`,
    runbook: "対処方法",
    footer: (instance, version) => `${instance}、バージョン ${version}`,
  },
};

const listeners = [];
let language = remembered("language") ?? (navigator.language.startsWith("ja") ? "ja" : "en");

/** What is remembered in this browser; nothing where it remembers nothing. */
export function remembered(name) {
  try {
    return localStorage.getItem(`techsapo.${name}`);
  } catch {
    return null;
  }
}

/** Remembers a choice, where the browser lets us. */
export function remember(name, value) {
  try {
    localStorage.setItem(`techsapo.${name}`, value);
  } catch {
    // A private window: the choice lasts as long as the page.
  }
}

/** The words of the language that is chosen. */
export function words() {
  return WORDS[language] ?? WORDS.en;
}

/** Changes to the other language. */
export function changeLanguage() {
  language = language === "ja" ? "en" : "ja";
  remember("language", language);
  write();
}

/** Calls `listener` now and whenever the language changes. */
export function onLanguage(listener) {
  listeners.push(listener);
}

/** Writes all that stands in the page's own text, and tells those who write the rest. */
export function write() {
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-word]")) {
    element.textContent = words()[element.dataset.word];
  }
  const other = document.getElementById("language");
  other.textContent = words().other;
  other.lang = language === "ja" ? "en" : "ja";
  listeners.forEach((listener) => listener());
}

function number(value, options) {
  return new Intl.NumberFormat(language, options).format(value);
}

/** A share of 1 as per cent; a dash where there is none. */
export function percent(share) {
  return share == null ? "–" : number(share, { style: "percent", maximumFractionDigits: 1 });
}

/** A number; a dash where there is none. */
export function plain(value, digits = 0) {
  return value == null ? "–" : number(value, { maximumFractionDigits: digits });
}

/** An amount in US dollars, with as many digits as a small one needs. */
export function usd(value) {
  if (value == null) return "–";
  const digits = value !== 0 && value < 0.1 ? 5 : 2;
  return number(value, { style: "currency", currency: "USD", minimumFractionDigits: 2, maximumFractionDigits: digits });
}

/** Seconds, or milliseconds below one. */
export function seconds(value) {
  if (value == null) return "–";
  return value < 1 ? `${plain(value * 1000)} ms` : `${plain(value, 2)} s`;
}

/** A moment: the time, and the day too unless it is today. */
export function moment(text) {
  const when = new Date(text);
  const today = when.toDateString() === new Date().toDateString();
  return new Intl.DateTimeFormat(language, {
    ...(today ? {} : { month: "short", day: "numeric" }),
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit",
  }).format(when);
}
