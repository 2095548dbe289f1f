// What the programs for Node.js run: see jobs.py.

import Redis from "ioredis";

export const COUNT = 200;
export const DELAY_MS = 1000;
export const connection = { host: "127.0.0.1", port: Number(process.env.INTEROP_PORT), maxRetriesPerRequest: null };
export const failsFirst = (number) => number % 10 === 0;
export const isPutOff = (number) => number % 10 === 1;

const client = new Redis(connection);

export async function work(number) {
  const tries = await client.hincrby("interop:tries", String(number), 1);
  if (failsFirst(number) && tries === 1) throw new Error(`job ${number} fails the first time`);
  await client.sadd("interop:done", number);
  return number;
}
