// What can be done to jobs, and to which: asked for the way the API wants it.

import { post } from "./api";
import type { JobSummary } from "./shapes";

/** Not over yet. */
export const OPEN: ReadonlySet<string> = new Set([
  "pending",
  "scheduled",
  "processing",
]);
/** Nobody works on it yet: who works on a job is who ends it. */
export const CANCELLABLE: ReadonlySet<string> = new Set(["pending", "scheduled"]);

export type Deed = "retry" | "purge";

/** Dead letters of one queue, as many as the API takes at a time. */
export interface Batch {
  queue_name: string;
  job_ids: string[];
}

const BATCH_MAX = 100;

/** Put letters in batches: a key of some queues has to name the queue of each. */
export function batches(letters: Pick<JobSummary, "id" | "queue_name">[]): Batch[] {
  const found: Batch[] = [];
  const open = new Map<string, Batch>();
  for (const { id, queue_name } of letters) {
    let batch = open.get(queue_name);
    if (batch === undefined || batch.job_ids.length === BATCH_MAX) {
      batch = { queue_name, job_ids: [] };
      open.set(queue_name, batch);
      found.push(batch);
    }
    batch.job_ids.push(id);
  }
  return found;
}

/** Retry or purge a batch; returns how many of it that could be done to. */
export async function deal(deed: Deed, batch: Batch): Promise<number> {
  const answer = await post<{ retried_count?: number; purged_count?: number }>(
    `/jobs/dlq/${deed}`,
    deed === "purge" ? { ...batch, confirm: true } : batch,
  );
  return answer.retried_count ?? answer.purged_count ?? 0;
}
