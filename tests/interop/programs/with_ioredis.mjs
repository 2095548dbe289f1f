// ioredis: a reliable queue of our own: BLMOVE to a list of those in work, a sorted set of those put off, a custom script.

import Redis from "ioredis";
import { COUNT, DELAY_MS, connection, isPutOff, work } from "./jobs.mjs";

const client = new Redis(connection);
const blocking = client.duplicate();
client.defineCommand("moveDue", {
  numberOfKeys: 2,
  lua: `local due = redis.call('zrange', KEYS[1], '-inf', ARGV[1], 'BYSCORE')
        for _, number in ipairs(due) do
          redis.call('zrem', KEYS[1], number)
          redis.call('rpush', KEYS[2], number)
        end
        return #due`,
});

const pipeline = client.pipeline();
for (let number = 0; number < COUNT; number += 1) {
  if (isPutOff(number)) pipeline.zadd("later", Date.now() + DELAY_MS, number);
  else pipeline.rpush("queue", number);
}
await pipeline.exec();

let done = 0;
while (done < COUNT) {
  await client.moveDue("later", "queue", Date.now());
  const number = await blocking.blmove("queue", "in-work", "LEFT", "RIGHT", 0.1);
  if (number === null) continue;
  try {
    await work(Number(number));
    await client.multi().lrem("in-work", 1, number).incr("finished").exec();
    done += 1;
  } catch {
    await client.multi().lrem("in-work", 1, number).rpush("queue", number).exec();
  }
}
if ((await client.get("finished")) !== String(COUNT) || (await client.exists("queue", "in-work", "later"))) {
  throw new Error("something is left");
}
client.disconnect();
blocking.disconnect();
process.exit(0);
