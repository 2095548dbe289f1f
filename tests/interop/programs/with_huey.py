"""huey: a queue that blocks on a list, a schedule in a sorted set."""

from __future__ import annotations

from huey import RedisHuey
from jobs import COUNT, DELAY_S, PORT, is_put_off, work

huey = RedisHuey("interop", port=PORT)
WORKER = ("-m", "huey.bin.huey_consumer", "with_huey.huey", "--workers", "2", "--scheduler-interval", "1", "--quiet")


@huey.task(retries=3, retry_delay=0)
def job(number: int) -> int:
    """One job."""
    return work(number)


def enqueue() -> None:
    """All jobs."""
    for number in range(COUNT):
        if is_put_off(number):
            job.schedule((number,), delay=DELAY_S)
        else:
            job(number)
