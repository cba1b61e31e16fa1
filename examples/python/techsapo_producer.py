"""A producer of TechSapo events that needs nothing but Python: every accepted event is counted exactly once.

    with Producer("redis://127.0.0.1:6379", "/var/lib/myapp/events.db") as events:
        events.state("cache_lookup", cache_type="redis", hit=True)

`state` writes the event to a journal on disk and returns; it waits for no network and raises nothing that is the
journal's or the network's fault. A thread carries the journal to the stream and frees what the exporter has
acknowledged. What a process leaves behind (it was killed, or Redis was away) the next one on the same journal sends.

The contract stands in docs/wire.md, the types of events in shared/event.schema.json. The parts, each readable by
itself: `event_line` and `entry` (the wire), `Redis` (a connection), `Journal` (the truth), `Producer` (what is sent,
and when again).
"""

from __future__ import annotations

import collections
import contextlib
import json
import logging
import socket
import sqlite3
import ssl
import threading
import time
import urllib.parse
import uuid
from typing import Any, Iterable, Iterator, NamedTuple, Optional

DEFAULT_STREAM = "techsapo:events"
MAX_LABEL_BYTES = 200
"""Longest free text in an event (a model, a route, an instance), in bytes of UTF-8."""
MAX_BATCH_EVENTS = 65_536
BATCH_BYTES = 64 << 10
"""A batch is cut at this size; the contract allows 1 MiB."""

TICK_S = 0.05
"""How long events are gathered before they are sent."""
POLL_S = 0.2
"""How often acknowledgements are asked for while there is nothing to send."""
STALL_S = 5.0
"""How long nothing may be acknowledged before the producer looks for the reason."""
STREAM_BYTES = 64 << 20
"""Sending pauses while the stream is larger, so that Redis does not fill up when no exporter reads."""
LONGEST_BACKOFF_S = 2.0

log = logging.getLogger("techsapo_producer")


# --- the wire -------------------------------------------------------------------------------------------------------


def event_line(event_type: str, fields: dict[str, Any]) -> bytes:
    """One event as it stands in a batch. Raises ValueError for NaN and infinity, TypeError for what JSON does not know.

    A surrogate without its partner is no Unicode text, and the exporter would refuse the event for it: it becomes `?`.
    """
    text = json.dumps({event_type: fields}, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


def label(text: str) -> str:
    """Free text, cut so that it is within the contract's bounds and no character is cut in two."""
    return text.encode("utf-8", "replace")[:MAX_LABEL_BYTES].decode("utf-8", "ignore")


def entry(
    lines: Iterable[bytes],
    *,
    producer: Optional[str] = None,
    first: int = 1,
    oldest: int = 1,
    dropped: int = 0,
) -> list[Any]:
    """A batch as the field-value pairs of one stream entry. Without a producer's id it is counted at least once."""
    lines = list(lines)
    fields: list[Any] = ["v", 1]
    if producer is not None:
        fields += ["p", producer, "s", first, "h", oldest, "x", dropped]
    return fields + ["n", len(lines), "d", b"\n".join(lines)]


def key_beside(stream: str, word: str) -> str:
    """The key that belongs to a stream: `techsapo:acks` beside `techsapo:events`, `mine:acks` beside `mine`."""
    if stream.startswith(DEFAULT_STREAM):
        return f"techsapo:{word}{stream[len(DEFAULT_STREAM):]}"
    return f"{stream}:{word}"


def entry_id(text: bytes) -> tuple[int, int]:
    """An entry's id `<ms>-<number>` in the order in which Redis gives them out."""
    ms, number = text.split(b"-")
    return int(ms), int(number)


# --- Redis ----------------------------------------------------------------------------------------------------------


class RedisError(Exception):
    """Redis answered with an error."""


class Redis:
    """One connection that speaks RESP2. After any error it must not be used again: a reply may still be on its way."""

    def __init__(self, url: str, timeout_s: float = 5.0) -> None:
        """Connects. `url` is `redis[s]://[[user]:password@]host[:port][/database]`."""
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("redis", "rediss") or not parts.hostname:
            raise ValueError("the address of Redis has the form redis://host:port")
        connection = socket.create_connection((parts.hostname, parts.port or 6379), timeout_s)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if parts.scheme == "rediss":
            connection = ssl.create_default_context().wrap_socket(connection, server_hostname=parts.hostname)
        self._socket, self._replies = connection, connection.makefile("rb")
        if parts.password is not None:
            names = [urllib.parse.unquote(parts.username)] if parts.username else []
            self.command("AUTH", *names, urllib.parse.unquote(parts.password))
        if database := parts.path.strip("/"):
            self.command("SELECT", database)

    def command(self, *words: Any) -> Any:
        """One command's reply: bytes, int, str (a status), list or None."""
        return self.pipeline([words])[0]

    def pipeline(self, commands: list[Any]) -> list[Any]:
        """Sends all, then reads all replies. Raises the first error among them."""
        self._socket.sendall(b"".join(map(self._encode, commands)))
        replies = [self._read() for _ in commands]
        for reply in replies:
            if isinstance(reply, RedisError):
                raise reply
        return replies

    def close(self) -> None:
        self._replies.close()
        self._socket.close()

    @staticmethod
    def _encode(words: Iterable[Any]) -> bytes:
        parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)

    def _read(self) -> Any:
        head = self._replies.readline()
        if not head.endswith(b"\r\n"):
            raise ConnectionError("Redis closed the connection")
        kind, rest = head[:1], head[1:-2]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            return RedisError(rest.decode("utf-8", "replace"))
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self._read_bytes(int(rest))
        if kind == b"*":
            return None if rest == b"-1" else [self._read() for _ in range(int(rest))]
        raise ConnectionError("what answers there is not Redis")

    def _read_bytes(self, length: int) -> bytes:
        body = self._replies.read(length + 2)
        if len(body) < length + 2:
            raise ConnectionError("Redis closed the connection")
        return body[:-2]


# --- the journal ----------------------------------------------------------------------------------------------------


class JournalInUse(Exception):
    """Another process, or another producer of this one, has the journal open."""


class Batch(NamedTuple):
    """Events that follow each other."""

    first: int
    last: int
    oldest: int
    dropped: int
    lines: list[bytes]
    is_full: bool


class Journal:
    """What was accepted and is not acknowledged, in an SQLite file that one process may have open.

    Each opening is a *run* with a producer id of its own, whose events are numbered from 1; it never appends to an
    earlier run. (A machine that loses power may lose the last events of a file although they were sent: were their
    numbers given out again, new events would look like old ones.) A commit is with the kernel when it returns, so it
    survives `kill -9`.
    """

    _SCHEMA = """
        CREATE TABLE IF NOT EXISTS run (
            producer TEXT NOT NULL PRIMARY KEY,
            last_seq INTEGER NOT NULL,  -- number of the last event
            dropped INTEGER NOT NULL,   -- events dropped so far
            told INTEGER NOT NULL       -- of these, what the last event's batch will tell
        );
        CREATE TABLE IF NOT EXISTS event (
            producer TEXT NOT NULL,
            seq INTEGER NOT NULL,
            dropped INTEGER NOT NULL,   -- events dropped before this one
            line BLOB NOT NULL,
            PRIMARY KEY (producer, seq)
        ) WITHOUT ROWID;
    """

    def __init__(self, path: str, max_bytes: int) -> None:
        """Opens or creates the file. It holds events of at most `max_bytes`; more are dropped, and counted."""
        self._lock = threading.Lock()
        self._max_bytes = max_bytes
        self._unsaved_drops = 0
        self.producer = str(uuid.uuid4())
        self._db = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.executescript(self._SCHEMA)
            with self._transaction() as db:
                # What earlier runs dropped after their last event no batch of theirs tells: this run does.
                untold = db.execute("SELECT TOTAL(dropped - told) FROM run").fetchone()[0]
                db.execute("UPDATE run SET dropped = told")
                db.execute("INSERT INTO run VALUES (?, 0, ?, 0)", (self.producer, int(untold)))
        except sqlite3.OperationalError as error:
            self._db.close()
            if "locked" in str(error):
                raise JournalInUse(f"{path} is open already; each producer needs a journal of its own") from error
            raise
        self._bytes = int(self._db.execute("SELECT TOTAL(LENGTH(line)) FROM event").fetchone()[0])

    def append(self, line: bytes) -> bool:
        """Accepts an event, or drops and counts it: when the journal is full, or its disk does not take it."""
        with self._lock:
            try:
                with self._transaction() as db:
                    accepted = self._bytes + len(line) <= self._max_bytes
                    drops = self._unsaved_drops + (not accepted)
                    if drops:
                        db.execute("UPDATE run SET dropped = dropped + ? WHERE producer = ?", (drops, self.producer))
                    if accepted:
                        db.execute(
                            "UPDATE run SET last_seq = last_seq + 1, told = dropped WHERE producer = ?",
                            (self.producer,),
                        )
                        db.execute(
                            "INSERT INTO event SELECT producer, last_seq, dropped, ? FROM run WHERE producer = ?",
                            (line, self.producer),
                        )
            except sqlite3.Error as error:
                log.error("the journal takes no event: %s", error)
                self._unsaved_drops += 1
                return False
            self._unsaved_drops = 0
            self._bytes += len(line) if accepted else 0
            return accepted

    def batch(self, producer: str, first: int) -> Optional[Batch]:
        """The events of a run from number `first` on, as many as one batch holds; None when there are none."""
        with self._lock:
            oldest = self._db.execute("SELECT MIN(seq) FROM event WHERE producer = ?", (producer,)).fetchone()[0]
            rows = self._db.execute(
                "SELECT seq, dropped, line FROM event WHERE producer = ? AND seq >= ? ORDER BY seq LIMIT ?",
                (producer, first, MAX_BATCH_EVENTS),
            )
            lines: list[bytes] = []
            size = last = dropped = 0
            for seq, dropped_before, line in rows:
                if lines and size + len(line) > BATCH_BYTES:
                    is_full = True
                    break
                last, dropped, size = seq, dropped_before, size + len(line) + 1
                lines.append(line)
            else:
                is_full = len(lines) == MAX_BATCH_EVENTS
        return Batch(last - len(lines) + 1, last, oldest, dropped, lines, is_full) if lines else None

    def free(self, producer: str, acknowledged: int) -> None:
        """Forgets what the exporter has made durable, and earlier runs of which nothing is left."""
        of_these = (producer, acknowledged)
        with self._lock:
            with self._transaction() as db:
                sizes = db.execute("SELECT TOTAL(LENGTH(line)) FROM event WHERE producer = ? AND seq <= ?", of_these)
                freed = int(sizes.fetchone()[0])
                db.execute("DELETE FROM event WHERE producer = ? AND seq <= ?", of_these)
                db.execute(
                    "DELETE FROM run WHERE producer <> ? AND producer NOT IN (SELECT producer FROM event)",
                    (self.producer,),
                )
            self._bytes -= freed

    def pending(self) -> list[str]:
        """The runs of which something is not acknowledged."""
        with self._lock:
            return [row[0] for row in self._db.execute("SELECT DISTINCT producer FROM event")]

    def runs(self) -> dict[str, int]:
        """The number of each run's last event, for as long as the run is not done."""
        with self._lock:
            return dict(self._db.execute("SELECT producer, last_seq FROM run"))

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise


# --- the producer ---------------------------------------------------------------------------------------------------


class _Shipment:
    """How far one run is on its way. What it says it sent holds for one connection; after that it begins again."""

    def __init__(self) -> None:
        self.acknowledged = 0
        self.next = 1
        self.sent: collections.deque[tuple[int, bytes]] = collections.deque()  # (last number, entry's id)
        self.moved_at = time.monotonic()

    def rewind(self) -> None:
        self.next = self.acknowledged + 1
        self.sent.clear()
        self.moved_at = time.monotonic()

    def on_acknowledged(self, seq: int) -> bool:
        """Whether that is news. (A Redis that was emptied forgets what it knew; what was durable stays so.)"""
        if seq <= self.acknowledged:
            return False
        self.acknowledged, self.moved_at = seq, time.monotonic()
        self.next = max(self.next, seq + 1)
        while self.sent and self.sent[0][0] <= seq:
            self.sent.popleft()
        return True

    def on_added(self, batch: Batch, added: bytes) -> None:
        if not self.sent:
            self.moved_at = time.monotonic()
        self.sent.append((batch.last, added))
        self.next = batch.last + 1

    def stalls(self) -> bool:
        return bool(self.sent) and time.monotonic() - self.moved_at > STALL_S


class Producer:
    """States events. Safe to use from many threads; not across a fork (open it in the child)."""

    def __init__(
        self,
        redis_url: str,
        journal_path: str,
        *,
        stream: str = DEFAULT_STREAM,
        max_journal_bytes: int = 256 << 20,
    ) -> None:
        """Opens the journal and begins to send. Redis need not be there yet. Raises JournalInUse."""
        self._url, self._stream = redis_url, stream
        self._acks, self._cursors = key_beside(stream, "acks"), key_beside(stream, "cursors")
        self.journal = Journal(journal_path, max_journal_bytes)
        self._redis: Optional[Redis] = None
        self._shipments: dict[str, _Shipment] = {}
        self._deadline: Optional[float] = None
        self._left_nothing = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._ship, name="techsapo-shipper", daemon=True)
        self._thread.start()

    def state(self, event_type: str, /, **fields: Any) -> bool:
        """States a fact. True: accepted, it will be counted once. False: dropped, and counted as such.

        `t`, Unix milliseconds, is the present unless it is given. Raises only for values that are no JSON.
        """
        fields.setdefault("t", time.time_ns() // 1_000_000)
        return self.journal.append(event_line(event_type, fields))

    def close(self, timeout_s: float = 10.0) -> bool:
        """Waits until everything is acknowledged, `timeout_s` at most, and ends. False: the next run sends the rest."""
        if not self._closing.is_set():
            self._deadline = time.monotonic() + timeout_s
            self._closing.set()
            self._thread.join()
            self._left_nothing = not self.journal.pending()
            self.journal.close()
        return self._left_nothing

    def __enter__(self) -> Producer:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _ship(self) -> None:
        failures = 0
        while self._deadline is None or time.monotonic() < self._deadline:
            try:
                wait_s = self._round()
                if self._closing.is_set() and not self.journal.pending():
                    break
                if failures:
                    log.warning("events are shipped again")
                failures = 0
            except (OSError, RedisError, sqlite3.Error) as error:
                self._disconnect()
                if not failures:
                    log.warning("events cannot be shipped, they wait in the journal: %s", error)
                wait_s = min(0.1 * 2**failures, LONGEST_BACKOFF_S)
                failures = min(failures + 1, 10)
            if self._closing.is_set():
                time.sleep(min(wait_s, TICK_S))
            else:
                self._closing.wait(wait_s)
        self._disconnect()

    def _round(self) -> float:
        """Reads what is acknowledged, then sends what is new. Says how many seconds the next round can wait."""
        runs = self.journal.pending()
        self._shipments = {run: self._shipments.get(run) or _Shipment() for run in runs}
        if not runs:
            return TICK_S
        if self._redis is None:
            self._redis = Redis(self._url)
        # First of all, also on a new connection: nothing is sent again that is known to be durable.
        *acknowledged, stream_bytes = self._redis.pipeline(
            [("HGET", self._acks, run) for run in runs] + [("MEMORY", "USAGE", self._stream)]
        )
        for run, seq in zip(runs, acknowledged):
            shipment = self._shipments[run]
            if seq is not None and shipment.on_acknowledged(int(seq)):
                self.journal.free(run, shipment.acknowledged)
            elif shipment.stalls():
                self._look_for(run, shipment)
        if (stream_bytes or 0) > STREAM_BYTES:
            return POLL_S
        batches = [(run, self.journal.batch(run, self._shipments[run].next)) for run in runs]
        batches = [(run, batch) for run, batch in batches if batch]
        added = self._redis.pipeline([self._add(run, batch) for run, batch in batches])
        for (run, batch), added_id in zip(batches, added):
            self._shipments[run].on_added(batch, added_id)
        if any(batch.is_full for _, batch in batches):
            return 0.0
        return TICK_S if batches else POLL_S

    def _add(self, run: str, batch: Batch) -> list[Any]:
        fields = entry(
            batch.lines, producer=run, first=batch.first, oldest=batch.oldest, dropped=batch.dropped
        )
        return ["XADD", self._stream, "*", *fields]

    def _look_for(self, run: str, shipment: _Shipment) -> None:
        """Sends again if the oldest batch left the stream, or was read, and was not acknowledged for it."""
        batch_id = shipment.sent[0][1]
        # The acknowledgement last: it is published with the cursor, and must not be older than the cursor that is seen.
        cursor, found, seq = self._redis.pipeline(
            [
                ("HGET", self._cursors, self._stream),
                ("XRANGE", self._stream, batch_id, batch_id),
                ("HGET", self._acks, run),
            ]
        )
        if seq is not None and int(seq) > shipment.acknowledged:
            return  # The next round takes it.
        if found and (cursor is None or entry_id(cursor) < entry_id(batch_id)):
            shipment.moved_at = time.monotonic()  # The exporter is slow or away: look again later.
            return
        log.warning("a batch left the stream unacknowledged; sending again from %d", shipment.acknowledged + 1)
        shipment.rewind()

    def _disconnect(self) -> None:
        """Gives up what was in flight: the next connection sends again what is not acknowledged."""
        if self._redis is not None:
            self._redis.close()
            self._redis = None
        for shipment in self._shipments.values():
            shipment.rewind()
