// Measures prom-client as an app in Node.js would use it: in its own process, with facts that are objects already.
// Nothing is sent, decoded or kept for a restart.
//
//   node prom_client.js facts COUNT             counts COUNT provider calls
//   node prom_client.js scrape SERIES SCRAPES   makes the page of a registry with SERIES samples
//
// Standard input of `facts`: events of the contract, one a line, used again and again. Standard output: one line of JSON
// with the CPU seconds of the whole process (collecting garbage included) that the work took, and what proves that it was done.
'use strict';

const fs = require('node:fs');
const client = require('prom-client');

/** CPU seconds of this process so far, all threads. */
function cpuSeconds() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

/** The metrics that a provider call moves, as the exporter's catalogue has them. */
function providerCallMetrics(registry) {
  const registers = [registry];
  return {
    requests: new client.Counter({
      name: 'techsapo_llm_requests_total',
      help: 'Finished provider calls.',
      labelNames: ['provider', 'model', 'status', 'task_type'],
      registers,
    }),
    responseTime: new client.Histogram({
      name: 'techsapo_llm_response_time_seconds',
      help: 'Duration of provider calls in seconds.',
      labelNames: ['provider', 'model'],
      buckets: [0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600],
      registers,
    }),
    tokens: new client.Counter({
      name: 'techsapo_llm_token_usage_total',
      help: 'Billable tokens.',
      labelNames: ['provider', 'type', 'model'],
      registers,
    }),
    cost: new client.Counter({
      name: 'techsapo_wallbounce_cost_usd',
      help: 'Cost of provider calls in US dollars.',
      labelNames: ['provider', 'task_type'],
      registers,
    }),
  };
}

/** Counts one provider call: five updates. */
function count(metrics, call) {
  const { provider, model, status, task_type } = call;
  metrics.requests.inc({ provider, model, status, task_type });
  metrics.responseTime.observe({ provider, model }, call.duration_us / 1e6);
  metrics.tokens.inc({ provider, type: 'input', model }, call.input_tokens);
  metrics.tokens.inc({ provider, type: 'output', model }, call.output_tokens);
  metrics.cost.inc({ provider, task_type }, call.cost_nanousd / 1e9);
}

async function facts(wanted) {
  const lines = fs.readFileSync(0, 'utf8').trimEnd().split('\n');
  const calls = lines.map((line) => JSON.parse(line).llm_request);
  const metrics = providerCallMetrics(new client.Registry());
  // Until the compiler has done its work.
  for (let i = 0; i < 100_000; i += 1) count(metrics, calls[i % calls.length]);
  metrics.requests.reset();

  const before = cpuSeconds();
  for (let i = 0; i < wanted; i += 1) count(metrics, calls[i % calls.length]);
  const seconds = cpuSeconds() - before;

  const { values } = await metrics.requests.get();
  return { cpu_seconds: seconds, counted: values.reduce((sum, sample) => sum + sample.value, 0) };
}

async function scrape(series, scrapes) {
  const registry = new client.Registry();
  const hits = new client.Counter({
    name: 'techsapo_rate_limit_hits_total',
    help: 'Requests refused by a rate limit.',
    labelNames: ['endpoint', 'client_ip'],
    registers: [registry],
  });
  for (let i = 0; i < series; i += 1) {
    hits.inc({ endpoint: '/api/v1/generate', client_ip: `10.${i >> 8}.${i & 255}.0/24` });
  }
  let page = await registry.metrics();
  const before = cpuSeconds();
  for (let i = 0; i < scrapes; i += 1) page = await registry.metrics();
  const seconds = cpuSeconds() - before;
  const samples = page.split('\n').filter((line) => line !== '' && !line.startsWith('#')).length;
  return { cpu_seconds: seconds, samples };
}

const [mode, ...numbers] = process.argv.slice(2);
const work = { facts, scrape }[mode];
work(...numbers.map(Number)).then((result) => console.log(JSON.stringify(result)));
