"""What all programs of this folder run: two hundred jobs, of which every tenth fails once and every tenth is put off.

A job notes in the server itself how often it was tried, so that the test can count them from outside.
"""

from __future__ import annotations

import os

import redis

COUNT = 200
PORT = int(os.environ["INTEROP_PORT"])
URL = f"redis://127.0.0.1:{PORT}/0"
DELAY_S = 1


class FailsOnce(Exception):
    """The job is to be tried again."""


def fails_first(number: int) -> bool:
    """Whether this job fails when it is tried for the first time."""
    return number % 10 == 0


def is_put_off(number: int) -> bool:
    """Whether this job is scheduled for later."""
    return number % 10 == 1


def work(number: int) -> int:
    """Do the job, or fail as it must."""
    client = redis.Redis(port=PORT)
    try:
        tries = client.hincrby("interop:tries", str(number), 1)
        if fails_first(number) and tries == 1:
            raise FailsOnce(f"job {number} fails the first time")
        client.sadd("interop:done", number)
    finally:
        client.close()
    return number
