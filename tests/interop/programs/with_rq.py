"""rq: a queue in lists and hashes, a scheduler in sorted sets. Jobs are called by name: rq worker imports `jobs`."""

from __future__ import annotations

from datetime import timedelta

import redis
from jobs import COUNT, DELAY_S, PORT, fails_first, is_put_off, work
from rq import Queue, Retry

WORKER = ("-m", "rq.cli", "worker", "--with-scheduler", "--worker-class", "rq.SimpleWorker", "--quiet", "interop")


def enqueue() -> None:
    """All jobs."""
    queue = Queue("interop", connection=redis.Redis(port=PORT))
    for number in range(COUNT):
        if is_put_off(number):
            queue.enqueue_in(timedelta(seconds=DELAY_S), work, number)
        else:
            queue.enqueue(work, number, retry=Retry(max=3) if fails_first(number) else None)
