"""Fills a small journal while nobody reads, then lets it drain, twice: `full.py <redis url> <journal>`.

In the end the first run is left with drops that no batch of its own tells, and the second run tells them. Prints how
many events were accepted and dropped.
"""

import json
import sys
import time

from techsapo_producer import Producer


def main():
    redis_url, path = sys.argv[1:]
    counts = {True: 0, False: 0}

    def fill(producer):
        for _ in range(3_000):
            counts[producer.state("cache_lookup", cache_type="redis", hit=True)] += 1

    producer = Producer(redis_url, path, max_journal_bytes=20_000)
    fill(producer)
    while producer.journal.pending():
        time.sleep(0.02)
    fill(producer)
    if not producer.close(timeout_s=60):
        sys.exit("not all was acknowledged")
    with Producer(redis_url, path) as producer:
        counts[producer.state("cache_lookup", cache_type="redis", hit=True)] += 1
    print(json.dumps({"accepted": counts[True], "dropped": counts[False]}))


main()
