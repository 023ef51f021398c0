// What failed for good: by what it died of, and away with it or once more, in one go.

import { useEffect, useRef, useState } from "preact/hooks";
import { get, list, part, spell } from "../api";
import { batches, type Deed, deal } from "../deeds";
import { brief, count } from "../format";
import { useAsked } from "../query";
import { useParams } from "../router";
import type { Dashboard, Group, Groups, JobSummary, QueueStats } from "../shapes";
import type { Frame } from "../stream";
import { say } from "../ui/notices";
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
import { sure } from "../ui/talk";
import { selecting } from "./jobs";

/** More groups than this the API does not show. */
const GROUPS_MAX = 100;

const aboutDead = (frame: Frame): boolean =>
  frame.data.new_status === "deadletter" || frame.data.old_status === "deadletter";

/** How many letters there are to deal with: so many, or at least so many. */
interface Amount {
  of: number;
  exact: boolean;
}

const spoken = ({ of, exact }: Amount): string =>
  `${exact ? "" : "at least "}${count(of)}`;

/** Count the letters of a queue, or of an error; null is any. */
async function counted(queue: string | null, error: string | null): Promise<Amount> {
  if (error === null) {
    const of =
      queue === null
        ? (await get<Dashboard>("/dashboard")).jobs.deadletter
        : (await get<QueueStats>(`/queues/${part(queue)}/stats`)).deadletter_jobs;
    return { of, exact: true };
  }
  const path = `/jobs/dlq/groups${spell({ queue_name: queue })}`;
  const { groups, complete } = await get<Groups>(path);
  const of = groups
    .filter((one) => one.error === error)
    .reduce((sum, one) => sum + one.count, 0);
  return { of, exact: complete && groups.length < GROUPS_MAX };
}

type Letter = Pick<JobSummary, "id" | "queue_name">;
/** What to deal with next, and what to ask for what comes then. */
type Next = (
  cursor: string | null,
) => Promise<{ letters: Letter[]; cursor: string | null }>;

interface Work extends Amount {
  deed: Deed;
  done: number;
}

export function DeadLetters() {
  const [params, change] = useParams();
  const [work, setWork] = useState<Work | null>(null);
  const [chosen, choose] = useState<ReadonlySet<string>>(new Set());
  const [run, setRun] = useState(0);
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
  const total = groups.data?.examined ?? 0;

  /** Deal with letters in batches, until there are no more or somebody says stop. */
  async function carryOut(deed: Deed, amount: Amount, next: Next): Promise<void> {
    if (!(await agreed(deed, amount))) return;
    stopped.current = false;
    setWork({ deed, done: 0, ...amount });
    let done = 0;
    let left = 0;
    try {
      let cursor: string | null = null;
      do {
        const page = await next(cursor);
        cursor = page.cursor;
        for (const batch of batches(page.letters)) {
          if (stopped.current) break;
          const changed = await deal(deed, batch);
          done += changed;
          left += batch.job_ids.length - changed;
          setWork({ deed, done, ...amount, of: Math.max(amount.of, done) });
        }
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
    setRun((before) => before + 1);
  }

  async function all(deed: Deed): Promise<void> {
    let amount: Amount;
    try {
      amount = await counted(queue, error);
    } catch (failure) {
      say((failure as Error).message, { bad: true });
      return;
    }
    await carryOut(deed, amount, async (cursor) => {
      const page = await list<JobSummary>(
        `/jobs/dlq${spell({ queue_name: queue, error, limit: 100, cursor })}`,
      );
      return { letters: page.rows, cursor: page.next };
    });
  }

  const some = (deed: Deed, letters: Letter[]): Promise<void> =>
    carryOut(deed, { of: letters.length, exact: true }, () =>
      Promise.resolve({ letters, cursor: null }),
    );

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
            : `The newest ${count(total)} are grouped here.`)
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
        <Progress
          work={work}
          stop={() => {
            stopped.current = true;
          }}
        />
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
      {total > 0 && (
        <Paged<JobSummary> path={path} when={aboutDead} id={(job) => job.id} run={run}>
          {(rows) => (
            <>
              <Chosen
                letters={rows.filter((job) => chosen.has(job.id))}
                busy={work !== null}
                run={some}
              />
              <Card title={narrowed ? "These letters" : "All letters"} flush>
                {rows.length === 0 ? (
                  <Empty title="None is left of these." />
                ) : (
                  <Letters rows={rows} chosen={chosen} choose={choose} />
                )}
              </Card>
            </>
          )}
        </Paged>
      )}
    </>
  );
}

/** Ask before a deed, and say to how many it is done. */
function agreed(deed: Deed, amount: Amount): Promise<boolean> {
  const verb = deed === "retry" ? "Retry" : "Purge";
  return sure(
    amount.exact
      ? `${verb} ${count(amount.of)} dead letters?`
      : `${verb} all of these dead letters, ${spoken(amount)}?`,
    deed === "retry"
      ? "They are ready again at once, with all their retries."
      : "They are deleted for good, with payload and attempts. Nothing brings them back.",
    `${verb} them`,
    { danger: deed === "purge" },
  );
}

function Progress({ work, stop }: { work: Work; stop: () => void }) {
  return (
    <div class="bulk" role="status">
      <span>
        {work.deed === "retry" ? "Retrying" : "Purging"}: {count(work.done)} of{" "}
        {spoken(work)}
      </span>
      <progress value={work.done} max={Math.max(1, work.of)} aria-label="Progress" />
      <Button onClick={stop}>Stop</Button>
    </div>
  );
}

function Chosen({
  letters,
  busy,
  run,
}: {
  letters: Letter[];
  busy: boolean;
  run: (deed: Deed, letters: Letter[]) => Promise<void>;
}) {
  if (letters.length === 0) return null;
  return (
    <div class="bulk" role="region" aria-label="What is chosen">
      <span>{letters.length} chosen</span>
      <Button icon="play" disabled={busy} onClick={() => void run("retry", letters)}>
        Retry
      </Button>
      <Button kind="danger" disabled={busy} onClick={() => void run("purge", letters)}>
        Purge
      </Button>
    </div>
  );
}

function Letters({
  rows,
  chosen,
  choose,
}: {
  rows: JobSummary[];
  chosen: ReadonlySet<string>;
  choose: (ids: ReadonlySet<string>) => void;
}) {
  return (
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
          cell: (job) => <span class="error-text clip">{job.last_error}</span>,
        },
        { name: "Attempts", kind: "number", cell: (job) => job.attempt },
        { name: "Died", cell: (job) => <When at={job.completed_at} /> },
      ]}
    />
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
