// A producer of TechSapo events for Node.js, by the published contract (docs/wire.md) and a client of Redis alone.
//
// Events are numbered and kept in memory until the exporter says that they are durable: a Redis that is away, is emptied or
// fails over loses none and doubles none. What a process holds when it is killed goes with it; a journal on disk, as the producer in
// examples/python has one, would keep it.

"use strict";

const { randomUUID } = require("node:crypto");
const { createClient } = require("redis");

const STREAM = "techsapo:events";
/** Longest free text in an event, in bytes of UTF-8. */
const MAX_LABEL_BYTES = 200;
/** A batch is cut at this size; the contract allows 1 MiB. */
const BATCH_BYTES = 64 << 10;
const MAX_BATCH_EVENTS = 65_536;
/** Sending pauses while the stream is larger, so that Redis does not fill up when no exporter reads. */
const STREAM_BYTES = 64 << 20;
/** How often events are sent and acknowledgements asked for. */
const ROUND_MS = 200;
/** How long nothing may be acknowledged before the producer looks for the reason. */
const STALL_MS = 5_000;

/** Free text within the contract's bounds: well-formed, and cut where no character is. */
function label(text) {
  const bytes = Buffer.from(String(text));
  let end = Math.min(bytes.length, MAX_LABEL_BYTES);
  while (end < bytes.length && (bytes[end] & 0xc0) === 0x80) end -= 1;
  return bytes.subarray(0, end).toString();
}

/** One event as it stands in a batch. Half a surrogate pair is no text, and the exporter would refuse the event for it. */
function eventLine(type, fields) {
  return JSON.stringify({ [type]: fields }, (_, value) => (typeof value === "string" ? value.toWellFormed() : value));
}

/** An entry's id `<ms>-<number>`, to be compared with another. */
function isBefore(id, other) {
  const [[ms, number], [otherMs, otherNumber]] = [id, other].map((text) => text.split("-").map(BigInt));
  return ms < otherMs || (ms === otherMs && number < otherNumber);
}

class Producer {
  #client;
  #id = randomUUID();
  #maxBytes;
  /** Accepted and not acknowledged, the oldest first: { seq, line, dropped }, where `dropped` were dropped before it. */
  #kept = [];
  #keptBytes = 0;
  #nextSeq = 1;
  #dropped = 0;
  #acknowledged = 0;
  /** Sent and not acknowledged: { last, entry } of each batch. */
  #sent = [];
  #movedAt = Date.now();
  #round = null;
  #closing = false;

  /** Connects in the background. At most `maxBytes` of events are kept; more are dropped, and counted. */
  constructor(url, { maxBytes = 16 << 20 } = {}) {
    this.#maxBytes = maxBytes;
    this.#client = createClient({ url, disableOfflineQueue: true, socket: { reconnectStrategy: (tries) => Math.min(100 * 2 ** tries, 2_000) } });
    // Said once for each time that it goes away, and by the rounds.
    this.#client.on("error", () => {});
    this.#client.connect().catch(() => {});
    this.#round = this.#ship();
  }

  /** States a fact. True: accepted, it will be counted once. False: dropped, and counted as such. */
  state(type, fields) {
    const line = eventLine(type, { t: Date.now(), ...fields });
    const bytes = Buffer.byteLength(line);
    if (this.#keptBytes + bytes > this.#maxBytes) {
      this.#dropped += 1;
      return false;
    }
    this.#kept.push({ seq: this.#nextSeq, line, bytes, dropped: this.#dropped });
    this.#nextSeq += 1;
    this.#keptBytes += bytes;
    return true;
  }

  /** Waits until everything is acknowledged, at most so long, and ends. False: something is lost with this process. */
  async close(timeoutMs = 10_000) {
    this.#closing = true;
    const until = Date.now() + timeoutMs;
    while (this.#kept.length > 0 && Date.now() < until) await pause(ROUND_MS / 4);
    this.#closing = "now";
    await this.#round;
    this.#client.destroy();
    return this.#kept.length === 0;
  }

  async #ship() {
    let isAway = false;
    while (this.#closing !== "now") {
      try {
        await this.#exchange();
        if (isAway) console.warn("events are shipped again");
        isAway = false;
      } catch (error) {
        // Whatever was on its way may have arrived or not: begin again behind the acknowledgement.
        this.#rewind();
        if (!isAway) console.warn(`events cannot be shipped, they wait in memory: ${error.message}`);
        isAway = true;
      }
      await pause(this.#closing ? ROUND_MS / 4 : ROUND_MS);
    }
  }

  /** Reads what is acknowledged, then sends what is new. */
  async #exchange() {
    if (this.#kept.length === 0) return;
    // First of all: nothing is sent again that is known to be durable.
    const acknowledged = Number((await this.#command("HGET", "techsapo:acks", this.#id)) ?? 0);
    if (acknowledged > this.#acknowledged) this.#free(acknowledged);
    else if (this.#sent.length > 0 && Date.now() - this.#movedAt > STALL_MS) await this.#lookFor();
    if (Number((await this.#command("MEMORY", "USAGE", STREAM)) ?? 0) > STREAM_BYTES) return;
    for (let batch = this.#batch(); batch.length > 0; batch = this.#batch()) {
      const last = batch.at(-1);
      const entry = await this.#command(
        "XADD", STREAM, "*", "v", "1", "p", this.#id, "s", String(batch[0].seq), "h", String(this.#kept[0].seq),
        "x", String(last.dropped), "n", String(batch.length), "d", batch.map(({ line }) => line).join("\n"),
      );
      if (this.#sent.length === 0) this.#movedAt = Date.now();
      this.#sent.push({ last: last.seq, entry });
    }
  }

  /** The events that come next, as many as one batch holds. */
  #batch() {
    const before = this.#sent.at(-1)?.last ?? this.#acknowledged;
    const first = this.#kept.findIndex(({ seq }) => seq > before);
    if (first < 0) return [];
    let [end, bytes] = [first, 0];
    while (end < this.#kept.length && end - first < MAX_BATCH_EVENTS && (end === first || bytes + this.#kept[end].bytes < BATCH_BYTES)) {
      bytes += this.#kept[end].bytes + 1;
      end += 1;
    }
    return this.#kept.slice(first, end);
  }

  #free(acknowledged) {
    const left = this.#kept.findIndex(({ seq }) => seq > acknowledged);
    const freed = this.#kept.splice(0, left < 0 ? this.#kept.length : left);
    this.#keptBytes -= freed.reduce((sum, { bytes }) => sum + bytes, 0);
    this.#sent = this.#sent.filter(({ last }) => last > acknowledged);
    this.#acknowledged = acknowledged;
    this.#movedAt = Date.now();
  }

  /** Sends again if the oldest batch left the stream, or was read, and was not acknowledged for it. */
  async #lookFor() {
    const { entry } = this.#sent[0];
    // The acknowledgement last: it is published with the cursor, and must not be older than the cursor that is seen.
    const cursor = await this.#command("HGET", "techsapo:cursors", STREAM);
    const found = await this.#command("XRANGE", STREAM, entry, entry);
    const acknowledged = Number((await this.#command("HGET", "techsapo:acks", this.#id)) ?? 0);
    if (acknowledged > this.#acknowledged) return; // The next round takes it.
    this.#movedAt = Date.now();
    // Still there and not read: the exporter is slow or away.
    if (found.length > 0 && (cursor === null || isBefore(cursor, entry))) return;
    console.warn(`a batch left the stream unacknowledged; sending again from ${this.#acknowledged + 1}`);
    this.#rewind();
  }

  #rewind() {
    this.#sent = [];
    this.#movedAt = Date.now();
  }

  #command(...words) {
    return this.#client.sendCommand(words);
  }
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

module.exports = { Producer, label };
