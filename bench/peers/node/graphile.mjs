// graphile-worker, as its documents advise it for speed: a local queue, and completions
// in batches.  Settings: pool, and of workers at_once, local_queue (0 for none).

import { Logger, makeWorkerUtils, run } from "graphile-worker";
import pg from "pg";

import { main } from "./adapter.mjs";

const TASK = "bench";
const LOUD = new Set(["error", "warning"]);
const logger = new Logger(() => (level, message) => {
  if (LOUD.has(level)) console.error(message);
});

async function setUp(plan) {
  const utils = await makeWorkerUtils({ connectionString: plan.url, logger });
  await utils.migrate();
  await utils.release();
}

async function openProducer(plan) {
  const pool = new pg.Pool({ connectionString: plan.url, max: plan.settings.pool });
  const utils = await makeWorkerUtils({ pgPool: pool, logger });
  return {
    enqueue: async (payload) => (await utils.addJob(TASK, payload)).id,
    enqueueMany: (payloads) =>
      utils.addJobs(payloads.map((payload) => ({ identifier: TASK, payload }))),
    close: async () => {
      await utils.release();
      await pool.end();
    },
  };
}

async function work(plan, handle) {
  const { at_once: atOnce, pool, local_queue: size } = plan.settings;
  const inBatches = {
    localQueue: { size },
    completeJobBatchDelay: 0,
    failJobBatchDelay: 0,
  };
  const worker = {
    connectionString: plan.url,
    concurrentJobs: atOnce,
    maxPoolSize: pool,
    logger,
    ...(size > 0 ? inBatches : {}),
  };
  const taskList = { [TASK]: (payload, { job }) => handle(job.id, payload) };
  await run({ preset: { worker }, taskList });
}

await main({ distribution: "graphile-worker", setUp, openProducer, work });
