"""Batches as producers in the field send them, right ones and wrong ones: `cases.py <redis url> <case>`.

Each case writes its entries, in one go and in this order, as producer `python-<case>`. What the exporter must make of
them stands in contract.rs.
"""

import json
import sys
import time

from techsapo_producer import Redis, entry, event_line

NOW_MS = time.time_ns() // 1_000_000
CACHE_HIT = event_line("cache_lookup", {"t": NOW_MS, "cache_type": "redis", "hit": True})


class Sender:
    """Numbers cache hits from 1 and sends any range of them."""

    def __init__(self, url, producer):
        self.redis, self.producer = Redis(url), producer

    def raw(self, *fields):
        """One entry, as it stands."""
        self.redis.command("XADD", "techsapo:events", "*", *fields)

    def lines(self, lines, first=1, oldest=1, dropped=0):
        self.raw(*entry(lines, producer=self.producer, first=first, oldest=oldest, dropped=dropped))

    def hits(self, first, last, oldest=1, dropped=0):
        self.lines([CACHE_HIT] * (last - first + 1), first, oldest, dropped)

    def acknowledged(self, at_least):
        """Waits for the acknowledgement, as a producer does before it comes back to a gap."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            seq = self.redis.command("HGET", "techsapo:acks", self.producer)
            if seq is not None and int(seq) >= at_least:
                return int(seq)
            time.sleep(0.02)
        sys.exit(f"{self.producer}: {at_least} was not acknowledged")


def llm(**fields):
    """A line with an llm_request, these fields put over a plain one."""
    plain = {
        "t": NOW_MS,
        "provider": "Gemini",
        "model": "gemini-2.5-pro",
        "task_type": "basic",
        "status": "success",
        "duration_us": 1_000_000,
        "cost_nanousd": 1_000,
    }
    return event_line("llm_request", {**plain, **fields})


def plain(to):
    to.hits(1, 4)
    to.hits(5, 5)
    to.hits(6, 10)


def the_same_again(to):
    for _ in range(3):
        to.hits(1, 10)


def overlap(to):
    to.hits(1, 10)
    to.hits(6, 15)
    to.hits(2, 9)
    to.hits(1, 20)


def a_gap_that_is_filled(to):
    to.hits(1, 5)
    to.hits(11, 15)
    resume = to.acknowledged(5) + 1
    to.hits(resume, 10)
    to.hits(11, 15)


def a_gap_that_cannot_be_filled(to):
    to.hits(1, 5)
    to.hits(13, 15, oldest=10)
    to.hits(10, 15, oldest=10)


def a_first_batch_that_is_not_the_first(to):
    to.hits(101, 103, oldest=101)


def poison(to):
    to.lines(
        [
            CACHE_HIT,
            b"{",
            b"\xff\xfe",
            b'{"cache_lookup":{"t":NaN,"cache_type":"redis","hit":true}}',
            CACHE_HIT,
            event_line("llm_answer", {"t": NOW_MS}),
            event_line("cache_lookup", {"t": NOW_MS, "hit": True}),
            event_line("cache_lookup", {"t": NOW_MS, "cache_type": "disk", "hit": True}),
            llm(duration_us=-1),
            llm(duration_us=1.5),
            llm(duration_us="1"),
            llm(cost_nanousd=10**15 + 1),
            llm(model="m" * 201),
            llm(t=253_402_300_800_000),
            CACHE_HIT,
        ]
    )


def broken_headers(to):
    data = ("n", 1, "d", CACHE_HIT)
    numbered = ("p", to.producer, "h", 1)
    for fields in [
        ("v", 2, *data),
        ("v", "1.0", *data),
        data,
        ("v", 1, "n", 1),
        ("v", 1, "p", to.producer, *data),
        ("v", 1, "s", 1, *data),
        ("v", 1, "p", to.producer, "s", 1, *data),
        ("v", 1, "s", "one", *numbered, *data),
        ("v", 1, "s", -1, *numbered, *data),
        ("v", 1, "s", 1, "h", 1, "p", "an id with spaces", *data),
        ("v", 1, "s", 1, "h", 1, "p", "i" * 65, *data),
        ("v", 1, "s", 0, *numbered, *data),
        ("v", 1, "s", 1, "p", to.producer, "h", 2, *data),
        ("v", 1, "s", 1, *numbered, "n", 2, "d", CACHE_HIT),
        ("v", 1, "s", 1, *numbered, "n", 0, "d", b""),
        ("v", 1, "s", 2**64 - 1, *numbered, *data),
    ]:
        to.raw(*fields)
    # What was refused took no number.
    to.hits(1, 1)


def bad_records(to):
    to.lines([CACHE_HIT, b"null", b"null", CACHE_HIT])


def without_numbers(to):
    for _ in range(2):
        to.raw(*entry([CACHE_HIT] * 3))
    to.raw("v", 1, "d", CACHE_HIT + b"\n" + CACHE_HIT + b"\n")


def drops(to):
    to.hits(1, 1, dropped=3)
    to.hits(2, 2, dropped=3)
    to.hits(1, 1, dropped=0)
    to.hits(3, 3, dropped=10)


def fields_of_a_later_version(to):
    to.raw(*entry([llm(region="asia", tags={"a": [1, None]})], producer=to.producer), "z", "later", "zz", b"\x00\xff")


def strings(to):
    escaped = json.dumps({"error": error("絵文字😀 \"'\\\b\f\n\r\t\0\x7f\u2028")}).encode()
    assert b"\\ud83d\\ude00" in escaped  # A pair of surrogates, as JSON escapes what lies beyond the first plane.
    to.lines(
        [
            event_line("error", error("接続に失敗しました")),
            escaped,
            event_line("error", error("é" * 100)),
            event_line("error", error("a lone surrogate becomes a question mark \ud83d")),
            json.dumps({"error": error("\ud83d")}).encode(),
        ]
    )


def error(error_type):
    return {"t": NOW_MS, "error_type": error_type, "severity": "error", "service": "redis"}


def big_integers(to):
    to.lines(
        [
            llm(cost_nanousd=10**15),
            llm(cost_nanousd=10**15 - 1),
            llm(input_tokens=10**10),
            llm(cost_nanousd=2**64 - 1),
            llm(cost_nanousd=2**64),
            llm(cost_nanousd=10**400),
        ]
    )


if __name__ == "__main__":
    redis_url, case = sys.argv[1:]
    globals()[case](Sender(redis_url, f"python-{case}"))
