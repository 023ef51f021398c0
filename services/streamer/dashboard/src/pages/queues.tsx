// The queues: what each has to do, how it does, and who may stop it.

import { useState } from "preact/hooks";
import { get, post, put } from "../api";
import { count, duration } from "../format";
import { about, aboutJobs, useAsked } from "../query";
import type { Queue, QueueStats } from "../shapes";
import { Form, NumberField, numberOf } from "../ui/form";
import { Paged } from "../ui/pages";
import {
  Act,
  Badge,
  Button,
  Card,
  Empty,
  Facts,
  Failure,
  Head,
  Link,
} from "../ui/parts";
import { attempt, sure } from "../ui/talk";

export function Queues() {
  return (
    <>
      <Head title="Queues" note="A queue exists as soon as it has a job." />
      <Paged<Queue>
        path="/queues?limit=50"
        by="offset"
        when={about("Queue", "JobCreated")}
        id={(queue) => queue.queue_name}
      >
        {(rows, again) =>
          rows.length === 0 ? (
            <Card>
              <Empty title="No queues yet.">
                <p>The first job of a queue makes it.</p>
              </Empty>
            </Card>
          ) : (
            <ul class="cards">
              {rows.map((queue) => (
                <li key={queue.queue_name}>
                  <One queue={queue} again={again} />
                </li>
              ))}
            </ul>
          )
        }
      </Paged>
    </>
  );
}

function One({ queue, again }: { queue: Queue; again: () => void }) {
  const name = queue.queue_name;
  const path = `/queues/${encodeURIComponent(name)}`;
  const stopped = queue.paused || !queue.enabled;
  const [open, setOpen] = useState(false);
  const stats = useAsked(
    `${path}/stats`,
    () => get<QueueStats>(`${path}/stats`),
    (frame) => aboutJobs(frame) && frame.data.queue_name === name,
  );
  const query = encodeURIComponent(name);
  const data = stats.data;
  return (
    <section class="card" aria-label={`Queue ${name}`}>
      <div class="card-head">
        <h2 class="clip">
          <Link to={`/jobs?queue=${query}`}>{name}</Link>
        </h2>
        <Badge of={stopped ? "paused" : "active"} />
      </div>
      {stats.error && <Failure error={stats.error} again={stats.again} />}
      <div class="mini">
        <Mini
          name="waiting"
          value={data?.pending_jobs}
          to={`/jobs?queue=${query}&status=pending`}
        />
        <Mini
          name="in work"
          value={data?.processing_jobs}
          to={`/jobs?queue=${query}&status=processing`}
        />
        <Mini
          name="scheduled"
          value={data?.scheduled_jobs}
          to={`/jobs?queue=${query}&status=scheduled`}
        />
        <Mini
          name="dead"
          value={data?.deadletter_jobs}
          to={`/dead-letters?queue=${query}`}
          bad
        />
      </div>
      <Facts
        of={[
          [
            "24 hours",
            data &&
              `${count(data.completed_jobs_24h)} completed, ${count(data.failed_jobs_24h)} dead`,
          ],
          ["Average", data && averages(data)],
          [
            "Oldest waits for",
            data?.max_job_age_seconds != null
              ? duration(data.max_job_age_seconds * 1000)
              : null,
          ],
          [
            "Rate limit",
            queue.rate_limit === null ? "none" : `${queue.rate_limit} jobs a second`,
          ],
          ["Retries", queue.max_retries],
        ]}
      />
      <div class="card-foot">
        {stopped ? (
          <Act
            icon="play"
            run={async () => {
              const run = queue.enabled
                ? () => post(`${path}/resume`)
                : () => put(`${path}/config`, { enabled: true });
              if (await attempt(run, `${name} goes on`)) again();
            }}
          >
            Resume
          </Act>
        ) : (
          <Act
            icon="pause"
            run={async () => {
              const yes = await sure(
                `Pause ${name}?`,
                "Nothing of it is handed out until it is resumed. New jobs are taken in, and wait.",
                "Pause it",
                { danger: false },
              );
              if (!yes) return;
              const run = () => post(`${path}/pause`, { reason: "from the dashboard" });
              if (await attempt(run, `${name} is paused`)) again();
            }}
          >
            Pause
          </Act>
        )}
        <Button onClick={() => setOpen(true)}>Limits</Button>
      </div>
      {open && <Limits queue={queue} close={() => setOpen(false)} done={again} />}
    </section>
  );
}

function averages({
  avg_wait_time_ms,
  avg_processing_time_ms,
}: QueueStats): string | null {
  const words = [
    avg_wait_time_ms !== null && `${duration(avg_wait_time_ms)} waiting`,
    avg_processing_time_ms !== null && `${duration(avg_processing_time_ms)} in work`,
  ].filter(Boolean);
  return words.join(", ") || null;
}

function Mini({
  name,
  value,
  to,
  bad = false,
}: {
  name: string;
  value: number | undefined;
  to: string;
  bad?: boolean;
}) {
  return (
    <Link to={to} class={bad && value ? "bad" : ""}>
      <b>{value === undefined ? "…" : count(value)}</b>
      <span>{name}</span>
    </Link>
  );
}

function Limits({
  queue,
  close,
  done,
}: {
  queue: Queue;
  close: () => void;
  done: () => void;
}) {
  return (
    <Form
      title={`Limits of ${queue.queue_name}`}
      yes="Save"
      done="It holds at once"
      close={close}
      send={async (given) => {
        await put(`/queues/${encodeURIComponent(queue.queue_name)}/config`, {
          max_retries: numberOf(given, "retries"),
          rate_limit: numberOf(given, "rate"),
        });
        done();
      }}
    >
      <NumberField
        label="Jobs begun a second"
        hint="At most, over all workers and pods. Empty is no limit."
        name="rate"
        min={1}
        defaultValue={queue.rate_limit ?? ""}
      />
      <NumberField
        label="Retries"
        hint="Of jobs that name no number of their own."
        name="retries"
        min={0}
        max={100}
        defaultValue={queue.max_retries}
        required
      />
    </Form>
  );
}
