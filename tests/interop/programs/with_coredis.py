"""coredis: three tasks that wait for a list, a script that moves what is due, and a transaction for what is done."""

from __future__ import annotations

import asyncio
import os
import time

import coredis

COUNT = 200
PORT = int(os.environ["INTEROP_PORT"])
MOVE_DUE = """
local due = redis.call('zrange', KEYS[1], '-inf', ARGV[1], 'BYSCORE')
for _, number in ipairs(due) do
  redis.call('zrem', KEYS[1], number)
  redis.call('rpush', KEYS[2], number)
end
return #due
"""


async def main() -> None:
    """Put in, work, and see that nothing is left."""
    client = coredis.Redis(port=PORT, decode_responses=True)
    async with client:
        await run(client)


async def run(client: coredis.Redis[str]) -> None:
    """All of it, with a client that is ready."""
    move_due = client.register_script(MOVE_DUE)
    for number in range(COUNT):
        if number % 10 == 1:
            await client.zadd("later", {str(number): time.time() + 1})
        else:
            await client.rpush("queue", [str(number)])

    async def worker() -> None:
        while await client.scard("interop:done") < COUNT:
            found = await client.blpop(["queue"], timeout=0.1)
            if not found:
                continue
            number = found[1]
            tries = await client.hincrby("interop:tries", number, 1)
            if tries == 1 and int(number) % 10 == 0:
                await client.rpush("queue", [number])
            else:
                await client.sadd("interop:done", [number])

    async def scheduler() -> None:
        while await client.scard("interop:done") < COUNT:
            await move_due(keys=["later", "queue"], args=[time.time()])
            await asyncio.sleep(0.05)

    await asyncio.gather(worker(), worker(), worker(), scheduler())
    assert await client.exists(["queue", "later"]) == 0


asyncio.run(main())
