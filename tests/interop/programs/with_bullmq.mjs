// BullMQ: a queue in which every step is a script over lists, sorted sets, hashes and streams. It is its own worker.

import { Queue, Worker } from "bullmq";
import { COUNT, DELAY_MS, connection, failsFirst, isPutOff, work } from "./jobs.mjs";

const queue = new Queue("interop", { connection });
const jobs = Array.from({ length: COUNT }, (_, number) => ({
  name: "job",
  data: { number },
  opts: { attempts: failsFirst(number) ? 3 : 1, backoff: { type: "fixed", delay: 50 }, delay: isPutOff(number) ? DELAY_MS : 0 },
}));
await queue.addBulk(jobs);

const worker = new Worker("interop", (job) => work(job.data.number), { connection, concurrency: 5 });
await new Promise((resolve) => {
  let completed = 0;
  worker.on("completed", () => {
    completed += 1;
    if (completed === COUNT) resolve();
  });
});
const counts = await queue.getJobCounts("completed", "failed", "waiting", "active", "delayed");
if (counts.completed !== COUNT || counts.failed || counts.waiting || counts.active || counts.delayed) {
  throw new Error(`not all jobs are completed: ${JSON.stringify(counts)}`);
}
await worker.close();
await queue.close();
process.exit(0);
