"""States events until it is killed: `load.py <redis url> <journal>`. Asked to end (SIGTERM), it sends all first.

Prints what the ledger needs: `run <producer> <last number>` for every earlier run that the journal still holds and, in
the end, for its own; `ok` for each event that was accepted.
"""

import os
import signal
import sys
import time

from techsapo_producer import Producer


def say(line):
    """In one write, so that a line is whole or not there."""
    os.write(1, line.encode() + b"\n")


def main():
    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    producer = Producer(sys.argv[1], sys.argv[2])
    own = producer.journal.producer
    say("begins")
    for run, last in producer.journal.runs().items():
        if run != own:
            say(f"run {run} {last}")
    while not stopping:
        if producer.state("cache_lookup", cache_type="redis", hit=True):
            say("ok")
        time.sleep(0.001)
    say(f"run {own} {producer.journal.runs()[own]}")
    sys.exit(0 if producer.close(timeout_s=60) else 1)


main()
