// All jobs: found by what one knows of them, and dealt with many at a time.

import { useEffect, useState } from "preact/hooks";
import { remove, spell } from "../api";
import { batches, CANCELLABLE, deal } from "../deeds";
import { brief, duration } from "../format";
import { aboutJobs } from "../query";
import { useParams } from "../router";
import type { JobSummary } from "../shapes";
import { say } from "../ui/notices";
import { Paged } from "../ui/pages";
import {
  Act,
  Badge,
  Button,
  Card,
  type Column,
  Empty,
  Head,
  Link,
  Table,
  When,
} from "../ui/parts";
import { sure } from "../ui/talk";

const STATUSES = [
  "pending",
  "scheduled",
  "processing",
  "completed",
  "deadletter",
  "cancelled",
  "expired",
];

export function Jobs() {
  const [params, change] = useParams();
  const [chosen, choose] = useState<ReadonlySet<string>>(new Set());
  const asked = {
    q: params.get("q"),
    queue_name: params.get("queue"),
    status: params.get("status"),
    tag: params.get("tag"),
    job_type: params.get("type"),
    created_after: moment(params.get("after")),
    created_before: moment(params.get("before")),
  };
  const path = `/jobs${spell({ ...asked, limit: 50 })}`;
  useEffect(() => choose(new Set()), [path]);
  const filtered = Object.values(asked).some(Boolean);

  return (
    <>
      <Head title="Jobs" note="Newest first; the list follows what happens." />
      <Filters params={params} change={change} filtered={filtered} />
      <Paged<JobSummary> path={path} when={aboutJobs} id={(job) => job.id}>
        {(rows, again) =>
          rows.length === 0 ? (
            <Card>
              {filtered ? (
                <Empty title="No job is like that.">
                  <Button
                    onClick={() =>
                      change(
                        Object.fromEntries([...params.keys()].map((k) => [k, null])),
                      )
                    }
                  >
                    Show all jobs
                  </Button>
                </Empty>
              ) : (
                <Empty title="No jobs yet.">
                  <p>
                    Send one with <code>POST /api/v1/jobs</code>, or run{" "}
                    <code>make demo</code>. <a href="/docs">The API</a>
                  </p>
                </Empty>
              )}
            </Card>
          ) : (
            <>
              <Bulk
                rows={rows.filter((job) => chosen.has(job.id))}
                done={() => {
                  choose(new Set());
                  again();
                }}
              />
              <Card flush>
                <Table
                  label="Jobs"
                  rows={rows}
                  id={(job) => job.id}
                  columns={[selecting(rows, chosen, choose), ...COLUMNS]}
                />
              </Card>
            </>
          )
        }
      </Paged>
    </>
  );
}

/** A moment as the browser's field spells it, in the zone of who looks. */
function moment(local: string | null): string | null {
  if (!local) return null;
  const found = new Date(local);
  return Number.isNaN(found.getTime()) ? null : found.toISOString();
}

export function selecting<T extends { id: string }>(
  rows: T[],
  chosen: ReadonlySet<string>,
  choose: (ids: ReadonlySet<string>) => void,
): Column<T> {
  const all = rows.length > 0 && rows.every((row) => chosen.has(row.id));
  return {
    kind: "select",
    name: (
      <input
        type="checkbox"
        aria-label="Choose all that are shown"
        checked={all}
        onChange={() => choose(all ? new Set() : new Set(rows.map((row) => row.id)))}
      />
    ),
    cell: (row) => (
      <input
        type="checkbox"
        aria-label={`Choose ${row.id}`}
        checked={chosen.has(row.id)}
        onChange={(event) => {
          const next = new Set(chosen);
          if (event.currentTarget.checked) next.add(row.id);
          else next.delete(row.id);
          choose(next);
        }}
      />
    ),
  };
}

export const COLUMNS: Column<JobSummary>[] = [
  {
    name: "Job",
    kind: "wide",
    cell: (job) => (
      <Link to={`/jobs/${job.id}`} class="strong">
        <code>{brief(job.id)}</code>
        {job.job_type && <span class="sub">{job.job_type}</span>}
      </Link>
    ),
  },
  { name: "Queue", cell: (job) => job.queue_name },
  { name: "Status", cell: (job) => <Badge of={job.status} /> },
  {
    name: "Attempts",
    kind: "number",
    cell: (job) => (
      <span title={`${job.retry_count} of ${job.max_retries} retries used`}>
        {job.attempt}
      </span>
    ),
  },
  { name: "Created", cell: (job) => <When at={job.created_at} /> },
  {
    name: "Last word",
    kind: "wide",
    cell: (job) =>
      job.status === "scheduled" ? (
        <span class="faint">
          runs <When at={job.scheduled_at} />
        </span>
      ) : job.last_error && job.status !== "completed" ? (
        <span class="error-text clip">{job.last_error}</span>
      ) : job.completed_at && job.started_at ? (
        <span class="faint">
          took {duration(Date.parse(job.completed_at) - Date.parse(job.started_at))}
        </span>
      ) : (
        <span class="faint">–</span>
      ),
  },
];

/** What is asked for beside a status and words. */
const NARROWER = ["queue", "type", "tag", "after", "before"];

function Filters({
  params,
  change,
  filtered,
}: {
  params: URLSearchParams;
  change: (change: Record<string, string | null>) => void;
  filtered: boolean;
}) {
  const field = (name: string, label: string, placeholder = "") => (
    <label class="filter">
      <span>{label}</span>
      <input
        type="search"
        value={params.get(name) ?? ""}
        placeholder={placeholder}
        maxLength={200}
        spellcheck={false}
        autocomplete="off"
        onChange={(event) => change({ [name]: event.currentTarget.value.trim() })}
      />
    </label>
  );
  const when = (name: string, label: string) => (
    <label class="filter">
      <span>{label}</span>
      <input
        type="datetime-local"
        value={params.get(name) ?? ""}
        onChange={(event) => change({ [name]: event.currentTarget.value })}
      />
    </label>
  );
  return (
    <search class="filters" aria-label="Filter jobs">
      <div class="chips" role="group" aria-label="Status">
        <button
          type="button"
          aria-pressed={!params.get("status")}
          onClick={() => change({ status: null })}
        >
          All
        </button>
        {STATUSES.map((status) => (
          <button
            key={status}
            type="button"
            aria-pressed={params.get("status") === status}
            onClick={() => change({ status })}
          >
            {status === "deadletter" ? "dead letters" : status}
          </button>
        ))}
      </div>
      <div class="filter-row">
        {field("q", "Search", "id, queue or type")}
        <details class="filter-more" open={NARROWER.some((name) => params.has(name))}>
          <summary class="button">Narrow down</summary>
          <div class="filter-row">
            {field("queue", "Queue")}
            {field("type", "Type")}
            {field("tag", "Tag")}
            {when("after", "Created after")}
            {when("before", "and before")}
          </div>
        </details>
        {filtered && (
          <Button
            kind="quiet"
            icon="close"
            onClick={() =>
              change(Object.fromEntries([...params.keys()].map((k) => [k, null])))
            }
          >
            Clear
          </Button>
        )}
      </div>
    </search>
  );
}

function Bulk({ rows, done }: { rows: JobSummary[]; done: () => void }) {
  const [progress, set] = useState<string | null>(null);
  if (rows.length === 0 && progress === null) return null;
  const dead = rows.filter((job) => job.status === "deadletter");
  const open = rows.filter((job) => CANCELLABLE.has(job.status)).map((job) => job.id);

  async function cancel(): Promise<void> {
    const yes = await sure(
      `Cancel ${open.length} jobs?`,
      "They end as cancelled, and nobody will work on them.",
      "Cancel them",
    );
    if (!yes) return;
    let cancelled = 0;
    const failures: string[] = [];
    for (const [n, id] of open.entries()) {
      set(`Cancelling ${n + 1} of ${open.length}`);
      try {
        await remove(`/jobs/${id}`);
        cancelled += 1;
      } catch (error) {
        failures.push((error as Error).message);
      }
    }
    set(null);
    say(
      `${cancelled} of ${open.length} jobs cancelled${failures[0] ? `; ${failures[0]}` : ""}`,
      { bad: failures.length > 0 },
    );
    done();
  }

  async function retry(): Promise<void> {
    let retried = 0;
    try {
      for (const batch of batches(dead)) {
        set(`Retrying: ${retried} of ${dead.length}`);
        retried += await deal("retry", batch);
      }
      say(`${retried} dead letters are tried again`);
    } catch (error) {
      say((error as Error).message, { bad: true });
    }
    set(null);
    done();
  }

  return (
    <div class="bulk" role="region" aria-label="What is chosen">
      <span role="status">{progress ?? `${rows.length} chosen`}</span>
      <Act run={retry} disabled={dead.length === 0} icon="play">
        Retry {dead.length || ""}
      </Act>
      <Act run={cancel} disabled={open.length === 0} kind="danger" icon="close">
        Cancel {open.length || ""}
      </Act>
    </div>
  );
}
