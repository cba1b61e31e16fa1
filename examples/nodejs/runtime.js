// How the runtime is, as events: V8's heap, how late timers fire, and the pauses for garbage collection.

"use strict";

const { PerformanceObserver, performance } = require("node:perf_hooks");
const v8 = require("node:v8");

const SAMPLE_MS = 5_000;
const TIMER_MS = 500;

/** Watches this process and states what it sees, until the function that it returns is called. */
function watchRuntime(events, instance) {
  const sample = () => {
    const heap = v8.getHeapStatistics();
    events.state("runtime_sample", {
      app_instance: instance,
      resident_bytes: process.memoryUsage.rss(),
      heap_total_bytes: heap.total_heap_size,
      heap_used_bytes: heap.used_heap_size,
    });
  };
  sample();
  const sampling = setInterval(sample, SAMPLE_MS);

  let due = performance.now() + TIMER_MS;
  const timing = setInterval(() => {
    const now = performance.now();
    events.state("event_loop_lag", { app_instance: instance, lag_us: Math.max(0, Math.round((now - due) * 1_000)) });
    due = now + TIMER_MS;
  }, TIMER_MS);

  const collections = new PerformanceObserver((list) => {
    for (const { startTime, duration } of list.getEntries()) {
      const t = Math.round(performance.timeOrigin + startTime + duration);
      events.state("gc_pause", { t, app_instance: instance, duration_us: Math.round(duration * 1_000) });
    }
  });
  collections.observe({ entryTypes: ["gc"] });

  return () => {
    clearInterval(sampling);
    clearInterval(timing);
    collections.disconnect();
  };
}

module.exports = { watchRuntime };
