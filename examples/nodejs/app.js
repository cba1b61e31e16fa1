// A small Express app beside TechSapo: its requests, and how its runtime is, are counted by the same exporter.
//
//   REDIS_URL=redis://127.0.0.1:6379 PORT=3000 INSTANCE=shop-1 node app.js
//
// SIGTERM ends it when what it has stated is durable, or after 10 s.

"use strict";

const { hostname } = require("node:os");
const express = require("express");
const { watchRuntime } = require("./runtime.js");
const { Producer, label } = require("./telemetry.js");

const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

const port = Number(process.env.PORT ?? 3000);
const instance = label(process.env.INSTANCE ?? `${hostname()}:${port}`);
const events = new Producer(process.env.REDIS_URL ?? "redis://127.0.0.1:6379");
const unwatch = watchRuntime(events, instance);

/** States every response, by its route: paths would be as many series as there are visitors. */
function stateRequests(request, response, next) {
  const began = process.hrtime.bigint();
  response.on("finish", () => {
    events.state("http_request", {
      method: METHODS.includes(request.method) ? request.method : "OTHER",
      route: request.route ? label(request.baseUrl + request.route.path) : "unmatched",
      route_kind: request.route ? "api" : "page",
      status_code: response.statusCode,
      duration_us: Number((process.hrtime.bigint() - began) / 1_000n),
      request_bytes: Number(request.headers["content-length"] ?? 0),
      response_bytes: Number(response.getHeader("content-length") ?? 0),
    });
  });
  next();
}

const app = express();
app.disable("x-powered-by");
app.use(stateRequests);
app.get("/orders/:id", (request, response) => {
  response.json({ order: request.params.id, state: "on its way" });
});
// Keeps the loop busy and leaves garbage behind, so that there is something to see.
app.get("/report", (_, response) => {
  const rows = Array.from({ length: 200_000 }, (_, number) => ({ number, text: `row ${number}` }));
  response.json({ rows: rows.length, bytes: JSON.stringify(rows).length });
});

const server = app.listen(port, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}`));
for (const signal of ["SIGTERM", "SIGINT"]) {
  process.once(signal, () => {
    server.close(async () => {
      unwatch();
      process.exitCode = (await events.close()) ? 0 : 1;
    });
    server.closeIdleConnections();
  });
}
