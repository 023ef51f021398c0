// pg-boss: large batches whose jobs run side by side, each with a result of its own.
// Settings: pool, notify, and of workers batch, local.

import { PgBoss } from "pg-boss";

import { main } from "./adapter.mjs";

const QUEUES = { false: "bench", true: "bench-notified" };

async function open(plan, options) {
  const boss = new PgBoss({
    connectionString: plan.url,
    max: plan.settings.pool ?? 4,
    supervise: false,
    schedule: false,
    ...options,
  });
  boss.on("error", console.error);
  await boss.start();
  return boss;
}

async function setUp(plan) {
  const boss = await open(plan, {});
  await boss.createQueue(QUEUES.false);
  await boss.createQueue(QUEUES.true, { notify: true });
  await boss.stop({ graceful: false });
}

async function openProducer(plan) {
  const boss = await open(plan, {});
  const queue = QUEUES[plan.settings.notify];
  return {
    enqueue: (payload) => boss.send(queue, payload),
    enqueueMany: (payloads) =>
      boss.insert(
        queue,
        payloads.map((data) => ({ data })),
      ),
    close: () => boss.stop({ graceful: false }),
  };
}

async function work(plan, handle) {
  const { notify, batch, local } = plan.settings;
  const boss = await open(plan, { supervise: true, useListenNotify: notify });
  const options = {
    batchSize: batch,
    localConcurrency: local,
    pollingIntervalSeconds: 0.5,
    notifyPollingIntervalSeconds: 30,
    burstWhenBatchFull: true,
    perJobResults: true,
  };
  await boss.work(QUEUES[notify], options, (jobs) =>
    Promise.all(
      jobs.map(async ({ id, data }) => {
        await handle(id, data);
        return { id, status: "completed" };
      }),
    ),
  );
}

await main({ distribution: "pg-boss", setUp, openProducer, work });
