"""celery: kombu's transport over lists, sorted sets and pub/sub, and a backend for results."""

from __future__ import annotations

from celery import Celery
from jobs import COUNT, DELAY_S, URL, FailsOnce, is_put_off, work

app = Celery("with_celery", broker=URL, backend=URL)
app.conf.update(broker_connection_retry_on_startup=True, worker_prefetch_multiplier=4)
WORKER = ("-m", "celery", "-A", "with_celery", "worker", "--pool", "solo", "--loglevel", "WARNING")


@app.task(autoretry_for=(FailsOnce,), retry_kwargs={"max_retries": 3, "countdown": 0})
def job(number: int) -> int:
    """One job."""
    return work(number)


def enqueue() -> None:
    """All jobs."""
    for number in range(COUNT):
        job.apply_async((number,), countdown=DELAY_S if is_put_off(number) else 0)
