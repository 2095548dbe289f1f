"""arq: jobs in a sorted set, locked by WATCH."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from arq import Retry, create_pool
from arq.connections import RedisSettings
from jobs import COUNT, DELAY_S, PORT, FailsOnce, is_put_off, work

SETTINGS = RedisSettings(port=PORT)
WORKER = ("-m", "arq", "with_arq.WorkerSettings")


async def job(_context: dict[str, Any], number: int) -> int:
    """One job."""
    try:
        return work(number)
    except FailsOnce as problem:
        raise Retry(defer=0.05) from problem


class WorkerSettings:
    """What arq's worker reads."""

    functions: ClassVar[list[Any]] = [job]
    redis_settings = SETTINGS
    poll_delay = 0.1


async def _enqueue() -> None:
    pool = await create_pool(SETTINGS)
    for number in range(COUNT):
        await pool.enqueue_job("job", number, _defer_by=DELAY_S if is_put_off(number) else None)
    await pool.close()


def enqueue() -> None:
    """All jobs."""
    asyncio.run(_enqueue())
