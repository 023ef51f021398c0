// BullMQ, on Redis; what is finished is removed.  Settings: of workers at_once.

import { Queue, Worker } from "bullmq";
import IORedis from "ioredis";

import { main } from "./adapter.mjs";

const QUEUE = "bench";

function connect(plan) {
  return new IORedis(plan.url, { maxRetriesPerRequest: null });
}

async function setUp(plan) {
  const connection = connect(plan);
  await connection.ping();
  connection.disconnect();
}

async function openProducer(plan) {
  const connection = connect(plan);
  const queue = new Queue(QUEUE, {
    connection,
    defaultJobOptions: { removeOnComplete: true, removeOnFail: 1000 },
  });
  return {
    enqueue: async (data) => (await queue.add(QUEUE, data)).id,
    enqueueMany: (payloads) =>
      queue.addBulk(payloads.map((data) => ({ name: QUEUE, data }))),
    close: async () => {
      await queue.close();
      connection.disconnect();
    },
  };
}

async function work(plan, handle) {
  new Worker(QUEUE, (job) => handle(job.id, job.data), {
    connection: connect(plan),
    concurrency: plan.settings.at_once,
  });
}

await main({ distribution: "bullmq", setUp, openProducer, work });
