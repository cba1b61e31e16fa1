// Draws SHOWN: a dashboard's JSON, for each panel what Prometheus answered its queries, and what happened meanwhile.
// It keeps to what the JSON says of units, colours, thresholds, stacking and places, as Grafana does; it is not Grafana.
'use strict';

const COLOURS = { blue: '#5794f2', green: '#73bf69', orange: '#ff9830', purple: '#b877d9', red: '#f2495c', yellow: '#fade2a' };
const SERIES = ['#73bf69', '#f2cc0c', '#8ab8ff', '#ff780a', '#f2495c', '#5794f2', '#b877d9', '#705da0', '#37872d', '#fade2a', '#447ebc', '#c15c17'];
const CELL = 30, GAP = 8, WIDTH = 1568;

const make = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
};
const draw = (tag, attributes = {}, text) => {
  const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  return node;
};
const drawing = (width, height) => draw('svg', { width, height, viewBox: `0 0 ${width} ${height}` });

// ── Values ──────────────────────────────────────────────────────────────────────────────────────────────────────────

const fixed = (value, decimals) => {
  if (decimals !== undefined) return value.toFixed(decimals);
  const size = Math.abs(value);
  return String(Number(value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : size >= 0.01 ? 3 : 5)));
};
const scaled = (value, decimals, base, names) => {
  let at = 0;
  while (Math.abs(value) >= base && at < names.length - 1) { value /= base; at += 1; }
  return `${fixed(value, at && decimals === undefined ? undefined : decimals)}${names[at] ? ' ' + names[at] : ''}`;
};
const THOUSANDS = ['', 'K', 'Mil', 'Bil'];
const UNITS = {
  percentunit: (value, decimals) => `${fixed(value * 100, decimals)}%`,
  percent: (value, decimals) => `${fixed(value, decimals)}%`,
  s: (value, decimals) => {
    const size = Math.abs(value);
    if (size === 0) return '0 s';
    if (size < 1e-3) return `${fixed(value * 1e6, 0)} µs`;
    if (size < 1) return `${fixed(value * 1e3, size < 0.1 ? undefined : 0)} ms`;
    return size < 60 ? `${fixed(value, decimals)} s` : `${fixed(value / 60, decimals)} min`;
  },
  bytes: (value, decimals) => scaled(value, decimals, 1024, ['B', 'KiB', 'MiB', 'GiB']),
  Bps: (value, decimals) => scaled(value, decimals, 1000, ['B/s', 'kB/s', 'MB/s', 'GB/s']),
  reqps: (value, decimals) => `${fixed(value, decimals)} req/s`,
  ops: (value, decimals) => `${fixed(value, decimals)} ops/s`,
  'suffix: per ¢': (value, decimals) => `${fixed(value, decimals)} per ¢`,
  currencyUSD: (value, decimals) => `$${fixed(value, decimals)}`,
  short: (value, decimals) => scaled(value, decimals, 1000, THOUSANDS),
};
const written = (value, unit, decimals) => UNITS[unit](value, decimals);

const thresholdColour = (config, value) => {
  let colour = config.thresholds.steps[0].color;
  for (const step of config.thresholds.steps.slice(1)) if (value >= step.value) colour = step.color;
  return COLOURS[colour];
};

// ── Series ──────────────────────────────────────────────────────────────────────────────────────────────────────────

// All series of a panel: { name, labels, points, colour }.
const seriesOf = ({ panel, answers }) => {
  const found = panel.targets.flatMap((target, index) => answers[index].map(({ labels, points }) => ({
    name: target.legendFormat.replace(/{{\s*(\w+)\s*}}/g, (_, label) => labels[label] ?? ''),
    labels, query: index, points: points.map(([at, value]) => [at, Number(value)]).filter(([, value]) => Number.isFinite(value)),
  }))).filter((series) => series.points.length);
  const { defaults, overrides } = panel.fieldConfig;
  found.forEach((series, index) => {
    const override = overrides.find(({ matcher }) => matcher.id === 'byRegexp' && new RegExp(matcher.options.slice(1, -1)).test(series.name));
    const last = series.points.at(-1)[1];
    if (override) series.colour = COLOURS[override.properties[0].value.fixedColor];
    else if (defaults.color.mode === 'fixed') series.colour = COLOURS[defaults.color.fixedColor];
    else if (defaults.color.mode === 'thresholds') series.colour = thresholdColour(defaults, last);
    else series.colour = SERIES[index % SERIES.length];
  });
  return found;
};

// ── Kinds of panels ─────────────────────────────────────────────────────────────────────────────────────────────────

const nothing = (panel) => {
  const text = make('div', { class: 'none' });
  text.textContent = panel.fieldConfig.defaults.noValue;
  return text;
};

const stat = (shown, width, height) => {
  const { panel } = shown, { defaults } = panel.fieldConfig, found = seriesOf(shown);
  const box = make('div', { class: 'stats' }), each = width / Math.max(found.length, 1);
  const named = found.length > 1 || panel.options.textMode === 'value_and_name';
  for (const series of found) {
    const last = series.points.at(-1)[1];
    const text = written(last, defaults.unit, defaults.decimals);
    const one = make('div', { class: 'stat' });
    if (panel.options.graphMode === 'area') one.append(sparkline(series, each - 6, height));
    if (named) {
      const name = make('div', { class: 'name' });
      name.textContent = series.name;
      if (panel.options.textMode === 'value_and_name') name.style.cssText = `font-size:${Math.min(24, each / series.name.length * 1.6)}px;font-weight:500;color:${series.colour}`;
      one.append(name);
    }
    const value = make('div', { class: 'value' });
    value.textContent = text;
    const size = panel.options.textMode === 'value_and_name' ? 16 : Math.min(height * (named ? 0.42 : 0.55), each * 1.55 / Math.max(text.length, 3), 46);
    value.style.cssText = `font-size:${size}px;color:${series.colour}`;
    one.append(value);
    box.append(one);
  }
  return box;
};

const sparkline = (series, width, height) => {
  const svg = drawing(width, height), values = series.points.map(([, value]) => value);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const x = (index) => index / Math.max(values.length - 1, 1) * width;
  const y = (value) => height - 2 - (high > low ? (value - low) / (high - low) : 0.1) * height * 0.42;
  const line = values.map((value, index) => `${x(index).toFixed(1)},${y(value).toFixed(1)}`).join(' ');
  svg.append(
    draw('polygon', { points: `0,${height} ${line} ${width},${height}`, fill: series.colour, opacity: 0.16 }),
    draw('polyline', { points: line, fill: 'none', stroke: series.colour, opacity: 0.6 }),
  );
  return svg;
};

const gauge = (shown, width, height) => {
  const { defaults } = shown.panel.fieldConfig, [series] = seriesOf(shown);
  const svg = drawing(width, height), value = series.points.at(-1)[1];
  const [cx, cy, radius] = [width / 2, height * 0.62, Math.min(width * 0.42, height * 0.56)];
  const at = (share) => Math.min(Math.max(share, 0), 1) * 240 - 210;
  const arc = (from, to, r) => {
    const point = (angle) => `${(cx + r * Math.cos(angle * Math.PI / 180)).toFixed(1)} ${(cy + r * Math.sin(angle * Math.PI / 180)).toFixed(1)}`;
    return `M ${point(from)} A ${r} ${r} 0 ${to - from > 180 ? 1 : 0} 1 ${point(to)}`;
  };
  const share = (number) => (number - defaults.min) / (defaults.max - defaults.min);
  const steps = defaults.thresholds.steps;
  steps.forEach((step, index) => {
    const [from, to] = [at(share(step.value ?? defaults.min)), at(share(steps[index + 1]?.value ?? defaults.max))];
    svg.append(draw('path', { d: arc(from, to, radius + 10), stroke: COLOURS[step.color], 'stroke-width': 5, fill: 'none' }));
  });
  svg.append(
    draw('path', { d: arc(-210, 30, radius - 8), stroke: '#22252b', 'stroke-width': 24, fill: 'none' }),
    draw('path', { d: arc(-210, at(share(value)), radius - 8), stroke: series.colour, 'stroke-width': 24, fill: 'none' }),
    draw('text', { x: cx, y: cy + 14, 'text-anchor': 'middle', style: `font-size:42px;font-weight:500;fill:${series.colour}` }, written(value, defaults.unit, defaults.decimals)),
  );
  return svg;
};

const barGauge = (shown, width, height) => {
  const { panel } = shown, { defaults } = panel.fieldConfig, found = seriesOf(shown), box = make('div');
  const last = (series) => series.points.at(-1)[1];
  const low = defaults.min ?? 0, high = defaults.max ?? Math.max(...found.map(last), 0);
  const names = Math.min(Math.max(...found.map(({ name }) => name.length)) * 7 + 4, width * 0.5);
  const each = Math.min((height - 4) / found.length - 5, panel.options.maxVizHeight);
  for (const series of found) {
    const share = Math.min(Math.max((last(series) - low) / ((high - low) || 1), 0), 1);
    const bar = make('div', { class: 'bar', style: `grid-template-columns:${names}px 1fr 74px;height:${each}px` });
    const [name, value] = [make('div', { class: 'name' }), make('div', { class: 'value', style: `color:${series.colour}` })];
    name.textContent = series.name;
    value.textContent = written(last(series), defaults.unit, defaults.decimals);
    bar.append(name, make('div', { class: 'track' }, make('div', { class: 'fill', style: `width:${(share * 100).toFixed(1)}%;background:${series.colour}` })), value);
    box.append(bar);
  }
  return box;
};

// A second line where one is not enough.
const linesOf = (entries, width) => entries.reduce((sum, { name }) => sum + name.length * 6.3 + 29, 0) > width ? 2 : 1;
const legend = (entries, lines) => {
  const box = make('div', { class: 'legend', style: `height:${lines * 17}px` });
  for (const { name, colour } of entries) {
    const entry = make('span');
    entry.append(make('i', { style: `background:${colour}` }), name);
    box.append(entry);
  }
  return box;
};

// Round numbers between two ends.
const ticks = (low, high, about, base) => {
  const raw = (high - low) / about, thousands = base ** Math.max(Math.floor(Math.log(raw || 1) / Math.log(base)), 0);
  const size = thousands * 10 ** Math.floor(Math.log10((raw || 1) / thousands));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * size).find((candidate) => candidate >= raw) ?? size;
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + step * 1e-6; at += step) found.push(Number(at.toFixed(10)));
  return found;
};

const clock = (at) => new Date(at * 1000).toISOString().slice(11, 16);
const timeAxis = (svg, left, right, height, x) => {
  const { from, to } = SHOWN;
  const steps = [60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400];
  const step = steps.find((candidate) => (to - from) / candidate <= (right - left) / 70) ?? 86400;
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) {
    svg.append(draw('line', { x1: x(at), x2: x(at), y1: 4, y2: height, stroke: '#25282e' }), draw('text', { x: x(at), y: height + 15, 'text-anchor': 'middle' }, clock(at)));
  }
};

const happened = (svg, height, x, left, right) => {
  for (const { colour, at } of SHOWN.happened) {
    const place = x(at);
    if (place < left || place > right) continue;
    svg.append(
      draw('line', { x1: place, x2: place, y1: 4, y2: height, stroke: COLOURS[colour], 'stroke-dasharray': '4 3', opacity: 0.6 }),
      draw('path', { d: `M ${place - 4} ${height + 5} L ${place + 4} ${height + 5} L ${place} ${height - 1} Z`, fill: COLOURS[colour] }),
    );
  }
};

const timeseries = (shown, width, fullHeight) => {
  const { defaults } = shown.panel.fieldConfig, found = seriesOf(shown), { custom } = defaults;
  const lines = linesOf(found, width), height = fullHeight - 23 - lines * 17, svg = drawing(width, height + 20), stacked = custom.stacking.mode === 'normal';
  const times = [...new Set(found.flatMap(({ points }) => points.map(([at]) => at)))].sort((a, b) => a - b);
  const below = new Map(times.map((at) => [at, 0]));
  for (const series of found) {
    series.drawn = series.points.map(([at, value]) => {
      const base = stacked ? below.get(at) : 0;
      if (stacked) below.set(at, base + value);
      return [at, base, base + value];
    });
  }
  const tops = found.flatMap(({ drawn }) => drawn.map(([, , top]) => top));
  let [low, high] = [defaults.min ?? Math.min(...tops), defaults.max ?? Math.max(...tops)];
  if (!(high > low)) high = low + (defaults.max === undefined ? 1 : 0.1);
  if (defaults.max === undefined) high += (high - low) * 0.06;
  if (defaults.min === undefined) low -= (high - low) * 0.06;
  const levels = ticks(low, high, 5, defaults.unit === 'bytes' ? 1024 : 1000);
  const labels = levels.map((level) => written(level, defaults.unit));
  const left = Math.max(...labels.map((label) => label.length)) * 6.4 + 10, right = width - 16;
  const x = (at) => left + (at - SHOWN.from) / (SHOWN.to - SHOWN.from) * (right - left);
  const y = (value) => height - (value - low) / (high - low) * (height - 6);
  timeAxis(svg, left, right, height, x);
  levels.forEach((level, index) => svg.append(
    draw('line', { x1: left, x2: right, y1: y(level), y2: y(level), stroke: '#2b2e35' }),
    draw('text', { x: left - 6, y: y(level) + 4, 'text-anchor': 'end' }, labels[index]),
  ));
  if (custom.thresholdsStyle.mode === 'dashed') {
    for (const step of defaults.thresholds.steps.slice(1)) {
      if (step.value > low && step.value <= high) svg.append(draw('line', { x1: left, x2: right, y1: y(step.value), y2: y(step.value), stroke: COLOURS[step.color], 'stroke-dasharray': '7 5', opacity: 0.8 }));
    }
  }
  happened(svg, height, x, left, right);
  for (const series of stacked ? [...found].reverse() : found) paint(svg, series, shown, { x, y, low, right });
  const box = make('div');
  box.append(svg, legend(found, lines));
  return box;
};

const paint = (svg, { drawn, colour }, { panel, step }, { x, y, low }) => {
  const { custom } = panel.fieldConfig.defaults;
  if (custom.drawStyle === 'bars') {
    const thickness = Math.max((x(SHOWN.from + step) - x(SHOWN.from)) * 0.75, 1.5);
    for (const [at, base, top] of drawn) svg.append(draw('rect', { x: x(at) - thickness / 2, width: thickness, y: y(top), height: Math.max(y(base) - y(top), 0), fill: colour, opacity: custom.fillOpacity / 100 }));
    return;
  }
  // A gap longer than what is bridged ends a line.
  const bridged = Math.max(step, custom.spanNulls / 1000) * 1.5, parts = [[]];
  drawn.forEach((point, index) => {
    if (index && point[0] - drawn[index - 1][0] > bridged) parts.push([]);
    parts.at(-1).push(point);
  });
  for (const part of parts) {
    const place = (at, value) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`;
    const line = part.map(([at, , top]) => place(at, top)).join(' ');
    const floor = [...part].reverse().map(([at, base]) => place(at, custom.stacking.mode === 'normal' ? base : Math.max(low, 0))).join(' ');
    svg.append(
      draw('polygon', { points: `${line} ${floor}`, fill: colour, opacity: custom.fillOpacity / 100 }),
      draw('polyline', { points: line, fill: 'none', stroke: colour, 'stroke-width': 1.6, 'stroke-linejoin': 'round' }),
    );
  }
};

const states = (shown, width, fullHeight) => {
  const { defaults } = shown.panel.fieldConfig, found = seriesOf(shown);
  const meanings = defaults.mappings[0].options, height = fullHeight - 40, svg = drawing(width, fullHeight - 20);
  const left = Math.min(Math.max(...found.map(({ name }) => name.length)) * 6.6 + 12, width * 0.4), right = width - 16;
  const x = (at) => left + (at - SHOWN.from) / (SHOWN.to - SHOWN.from) * (right - left);
  timeAxis(svg, left, right, height, x);
  const each = height / found.length;
  found.forEach((series, index) => {
    const top = index * each + each * 0.12;
    svg.append(draw('text', { x: left - 8, y: top + each * 0.38 + 4, 'text-anchor': 'end' }, series.name));
    // Neighbours in the same state are one.
    const spans = [];
    for (const [at, value] of series.points) {
      const before = spans.at(-1);
      if (before && before.value === value && at - before.to < shown.step * 1.5) before.to = at;
      else spans.push({ from: at, to: at, value });
    }
    for (const { from, to, value } of spans) {
      const place = x(from), end = Math.min(x(to + shown.step), right);
      if (end > place) svg.append(draw('rect', { x: place, width: end - place, y: top, height: each * 0.76, fill: COLOURS[meanings[value]?.color] ?? '#555', opacity: 0.75 }));
    }
  });
  const box = make('div');
  box.append(svg, legend(Object.values(meanings).map(({ text, color }) => ({ name: text, colour: COLOURS[color] })), 1));
  return box;
};

const table = (shown, width, height) => {
  const { panel, answers } = shown, rows = new Map(), { overrides } = panel.fieldConfig;
  const columns = panel.targets.map((target) => {
    const properties = overrides.find(({ matcher }) => matcher.options === `Value #${target.refId}`).properties;
    return Object.fromEntries(properties.map(({ id, value }) => [id, value]));
  });
  answers.forEach((series, column) => series.forEach(({ labels, points }) => {
    const { __name__, ...rest } = labels, key = JSON.stringify(rest), value = Number(points.at(-1)[1]);
    if (!rows.has(key)) rows.set(key, { labels: rest, values: [] });
    if (Number.isFinite(value)) rows.get(key).values[column] = value;
  }));
  const names = Object.keys([...rows.values()][0].labels), sheet = make('table'), head = make('tr');
  for (const name of names) head.append(make('th', { class: 'label' }, name));
  for (const column of columns) head.append(make('th', {}, column.displayName));
  sheet.append(head);
  const sorted = [...rows.values()].sort((a, b) => (b.values[0] ?? -Infinity) - (a.values[0] ?? -Infinity));
  for (const { labels, values } of sorted.slice(0, Math.floor(height / 28) - 1)) {
    const row = make('tr');
    for (const name of names) row.append(make('td', { class: 'label' }, labels[name]));
    columns.forEach((column, index) => row.append(make('td', {}, values[index] === undefined ? '' : written(values[index], column.unit))));
    sheet.append(row);
  }
  return sheet;
};

const KINDS = { stat, gauge, bargauge: barGauge, timeseries, 'state-timeline': states, table };

// ── The page ────────────────────────────────────────────────────────────────────────────────────────────────────────

const head = document.getElementById('head'), main = document.getElementById('panels');
const title = make('h1');
title.textContent = SHOWN.dashboard.title;
head.append(title);
for (const { name, label } of SHOWN.dashboard.templating.list) {
  const chip = make('span', { class: 'chip' });
  chip.append(make('b', {}, label), name === 'datasource' ? 'Prometheus' : 'All');
  head.append(chip);
}
head.append(make('span', { class: 'space' }), make('span', { class: 'note' }, 'preview drawn by TechSapo’s tests from Prometheus’ answers, not by Grafana'));
const last = make('span', { class: 'chip' });
last.textContent = `${clock(SHOWN.from)} – ${clock(SHOWN.to)} UTC`;
head.append(last, make('span', { class: 'chip' }, `⟳ ${SHOWN.dashboard.refresh}`));

const column = (WIDTH + GAP) / 24;
for (const shown of SHOWN.panels) {
  const { panel } = shown, { x, y, w, h } = panel.gridPos;
  const [left, top, width, height] = [x * column, y * (CELL + GAP), w * column - GAP, h * (CELL + GAP) - GAP];
  const place = `left:${left}px;top:${top}px;width:${width}px;height:${height}px`;
  if (panel.type === 'row') {
    main.append(make('div', { class: 'row', style: place }, panel.title));
    continue;
  }
  const box = make('section', { style: place }), body = make('div', { class: 'body' });
  box.append(make('h2', {}, panel.title), body);
  const empty = !seriesOf(shown).length;
  body.append(empty ? nothing(panel) : KINDS[panel.type](shown, width - 18, height - 36));
  main.append(box);
}
