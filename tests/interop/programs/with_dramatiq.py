"""dramatiq: queues whose every step is a script."""

from __future__ import annotations

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from jobs import COUNT, DELAY_S, URL, is_put_off, work

dramatiq.set_broker(RedisBroker(url=URL))
WORKER = ("-m", "dramatiq", "with_dramatiq", "--processes", "1", "--threads", "4")


@dramatiq.actor(max_retries=5, min_backoff=50, max_backoff=100)
def job(number: int) -> None:
    """One job."""
    work(number)


def enqueue() -> None:
    """All jobs."""
    for number in range(COUNT):
        job.send_with_options(args=(number,), delay=1000 * DELAY_S if is_put_off(number) else None)
