// What failed for good: by what it died of, and away with it or once more, in one go.

import { useEffect, useRef, useState } from "preact/hooks";
import { get, list, post, spell } from "../api";
import { brief, count } from "../format";
import { useAsked } from "../query";
import { useParams } from "../router";
import type { Group, Groups, JobSummary } from "../shapes";
import type { Frame } from "../stream";
import { Paged } from "../ui/pages";
import {
  Badge,
  Button,
  Card,
  Empty,
  Head,
  Link,
  Shown,
  Table,
  When,
} from "../ui/parts";
import { say, sure } from "../ui/talk";
import { selecting } from "./jobs";

const aboutDead = (frame: Frame): boolean =>
  frame.data.new_status === "deadletter" || frame.data.old_status === "deadletter";

type Deed = "retry" | "purge";

interface Work {
  deed: Deed;
  done: number;
  of: number;
}

export function DeadLetters() {
  const [params, change] = useParams();
  const [work, setWork] = useState<Work | null>(null);
  const [chosen, choose] = useState<ReadonlySet<string>>(new Set());
  const stopped = useRef(false);
  const queue = params.get("queue");
  const error = params.get("error");
  const groups = useAsked(
    "dead-groups",
    () => get<Groups>("/jobs/dlq/groups"),
    aboutDead,
  );
  const path = `/jobs/dlq${spell({ queue_name: queue, error, limit: 50 })}`;
  useEffect(() => choose(new Set()), [path]);
  const total = (groups.data?.groups ?? []).reduce((sum, one) => sum + one.count, 0);

  /** Deal with letters a hundred at a time; what is left is named by *next*. */
  async function carryOut(
    deed: Deed,
    of: number,
    next: (cursor: string | null) => Promise<{ ids: string[]; cursor: string | null }>,
  ): Promise<void> {
    const yes = await sure(
      deed === "retry"
        ? `Retry ${count(of)} dead letters?`
        : `Purge ${count(of)} dead letters?`,
      deed === "retry"
        ? "They are ready again at once, with all their retries."
        : "They are deleted for good, with payload and attempts. Nothing brings them back.",
      deed === "retry" ? "Retry them" : "Purge them",
      { danger: deed === "purge" },
    );
    if (!yes) return;
    stopped.current = false;
    setWork({ deed, done: 0, of });
    let done = 0;
    let left = 0;
    try {
      let cursor: string | null = null;
      do {
        const page = await next(cursor);
        cursor = page.cursor;
        if (page.ids.length === 0) break;
        const answer = await post<{ retried_count?: number; purged_count?: number }>(
          `/jobs/dlq/${deed}`,
          deed === "retry"
            ? { job_ids: page.ids, ...(queue ? { queue_name: queue } : {}) }
            : {
                job_ids: page.ids,
                confirm: true,
                ...(queue ? { queue_name: queue } : {}),
              },
        );
        const changed = answer.retried_count ?? answer.purged_count ?? 0;
        done += changed;
        left += page.ids.length - changed;
        setWork({ deed, done, of: Math.max(of, done) });
      } while (cursor !== null && !stopped.current);
      say(
        `${count(done)} ${deed === "retry" ? "are tried again" : "are purged"}` +
          (left > 0
            ? `; ${count(left)} were not: a limit, or somebody was faster`
            : ""),
      );
    } catch (failure) {
      say(`${count(done)} done, then: ${(failure as Error).message}`, { bad: true });
    }
    setWork(null);
    choose(new Set());
    groups.again();
  }

  function all(deed: Deed): Promise<void> {
    const found = groups.data?.groups.filter(
      (one) =>
        (queue === null || one.queue_name === queue) &&
        (error === null || one.error === error),
    );
    const of = (found ?? []).reduce((sum, one) => sum + one.count, 0);
    return carryOut(deed, of, async (cursor) => {
      const page = await list<JobSummary>(
        `/jobs/dlq${spell({ queue_name: queue, error, limit: 100, cursor })}`,
      );
      return { ids: page.rows.map((row) => row.id), cursor: page.next };
    });
  }

  function some(deed: Deed): Promise<void> {
    const ids = [...chosen];
    return carryOut(deed, ids.length, (cursor) => {
      const at = Number(cursor ?? 0);
      const more = at + 100 < ids.length;
      return Promise.resolve({
        ids: ids.slice(at, at + 100),
        cursor: more ? String(at + 100) : null,
      });
    });
  }

  const narrowed = queue !== null || error !== null;
  return (
    <>
      <Head
        title="Dead letters"
        note={
          groups.data &&
          total > 0 &&
          (groups.data.complete
            ? `${count(total)} jobs were given up.`
            : `The newest ${count(groups.data.examined)} are grouped here.`)
        }
      >
        {total > 0 && (
          <>
            <Button
              icon="play"
              disabled={work !== null}
              onClick={() => void all("retry")}
            >
              {narrowed ? "Retry these" : "Retry all"}
            </Button>
            <Button
              kind="danger"
              disabled={work !== null}
              onClick={() => void all("purge")}
            >
              {narrowed ? "Purge these" : "Purge all"}
            </Button>
          </>
        )}
      </Head>
      {work && (
        <div class="bulk" role="status">
          <span>
            {work.deed === "retry" ? "Retrying" : "Purging"}: {count(work.done)} of{" "}
            {count(work.of)}
          </span>
          <progress
            value={work.done}
            max={Math.max(1, work.of)}
            aria-label="Progress"
          />
          <Button
            onClick={() => {
              stopped.current = true;
            }}
          >
            Stop
          </Button>
        </div>
      )}
      <Shown asked={groups}>
        {(data) =>
          data.groups.length === 0 ? (
            <Card>
              <Empty title="No dead letters.">
                <p>
                  A job whose retries are used up stands here, with its payload and
                  every attempt, until it is tried again or purged.
                </p>
              </Empty>
            </Card>
          ) : (
            <GroupList
              groups={data.groups}
              queue={queue}
              error={error}
              change={change}
            />
          )
        }
      </Shown>
      {chosen.size > 0 && (
        <div class="bulk" role="region" aria-label="What is chosen">
          <span>{chosen.size} chosen</span>
          <Button
            icon="play"
            disabled={work !== null}
            onClick={() => void some("retry")}
          >
            Retry
          </Button>
          <Button
            kind="danger"
            disabled={work !== null}
            onClick={() => void some("purge")}
          >
            Purge
          </Button>
        </div>
      )}
      {total > 0 && (
        <Paged<JobSummary> path={path} when={aboutDead} id={(job) => job.id}>
          {(rows) => (
            <Card title={narrowed ? "These letters" : "All letters"} flush>
              {rows.length === 0 ? (
                <Empty title="None is left of these." />
              ) : (
                <Table
                  label="Dead letters"
                  rows={rows}
                  id={(job) => job.id}
                  columns={[
                    selecting(rows, chosen, choose),
                    {
                      name: "Job",
                      cell: (job) => (
                        <Link to={`/jobs/${job.id}`} class="strong">
                          <code>{brief(job.id)}</code>
                          {job.job_type && <span class="sub">{job.job_type}</span>}
                        </Link>
                      ),
                    },
                    { name: "Queue", cell: (job) => job.queue_name },
                    {
                      name: "Died of",
                      kind: "wide",
                      cell: (job) => (
                        <span class="error-text clip">{job.last_error}</span>
                      ),
                    },
                    { name: "Attempts", kind: "number", cell: (job) => job.attempt },
                    { name: "Died", cell: (job) => <When at={job.completed_at} /> },
                  ]}
                />
              )}
            </Card>
          )}
        </Paged>
      )}
    </>
  );
}

function GroupList({
  groups,
  queue,
  error,
  change,
}: {
  groups: Group[];
  queue: string | null;
  error: string | null;
  change: (change: Record<string, string | null>) => void;
}) {
  const most = Math.max(...groups.map((group) => group.count));
  return (
    <Card title="By what they died of" flush>
      <ul class="rows">
        {groups.map((group) => {
          const pressed = queue === group.queue_name && error === group.error;
          return (
            <li key={`${group.queue_name}\n${group.error}\n${group.dead_reason}`}>
              <button
                type="button"
                class="row-link"
                aria-pressed={pressed}
                onClick={() =>
                  change(
                    pressed
                      ? { queue: null, error: null }
                      : { queue: group.queue_name, error: group.error },
                  )
                }
              >
                <span class="tally">{count(group.count)}</span>
                <span class="grow clip">
                  {group.error || group.dead_reason}
                  <span class="sub">{group.queue_name}</span>
                </span>
                {group.dead_reason !== "attempts_exhausted" && (
                  <Badge of="deadletter">{group.dead_reason.replace("_", " ")}</Badge>
                )}
                <meter
                  class="load bad"
                  min={0}
                  max={most}
                  value={group.count}
                  aria-label="Its share"
                />
                <span class="faint fixed">
                  last <When at={group.last_at} />
                </span>
              </button>
            </li>
          );
        })}
      </ul>
    </Card>
  );
}
