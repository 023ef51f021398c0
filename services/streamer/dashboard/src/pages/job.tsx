// What happened to a job: all of it, and why it is where it is.

import { useState } from "preact/hooks";
import { get, post, remove } from "../api";
import { CANCELLABLE, OPEN } from "../deeds";
import { brief, count, moment } from "../format";
import { aboutJob, useAsked } from "../query";
import { go, useId } from "../router";
import type { Attempt, Explanation, Happening, Job as Shape } from "../shapes";
import { Paged } from "../ui/pages";
import {
  Act,
  Badge,
  Card,
  Copy,
  Facts,
  Head,
  Link,
  Shown,
  Text,
  When,
} from "../ui/parts";
import { attempt, sure } from "../ui/talk";
import { Attempts } from "./job-attempts";
import { Timeline } from "./job-timeline";

export function Job() {
  const id = useId();
  const when = aboutJob(id);
  const path = `/jobs/${encodeURIComponent(id)}`;
  const job = useAsked(path, () => get<Shape>(path), when);
  const [run, setRun] = useState(0);
  const again = (): void => {
    job.again();
    setRun(run + 1);
  };
  return (
    <Shown asked={job}>
      {(data) => (
        <>
          <Head
            of={["/jobs", "Jobs"]}
            title={
              <>
                <code title={data.id}>{brief(data.id)}</code>{" "}
                <Copy text={data.id} label="Copy the job's id" />{" "}
                <Badge of={data.status} />
              </>
            }
            note={
              <>
                {data.job_type && <b>{data.job_type} </b>}
                in{" "}
                <Link to={`/jobs?queue=${encodeURIComponent(data.queue_name)}`}>
                  {data.queue_name}
                </Link>
                , created <When at={data.created_at} />
              </>
            }
          >
            <Actions job={data} again={again} />
          </Head>
          {OPEN.has(data.status) && <Why job={data} />}
          {data.last_error && data.status !== "completed" && (
            <div class="callout is-bad">
              <b>
                {data.dead_reason ? spoken(data.dead_reason) : "What went wrong last"}
              </b>
              <p class="error-text">{data.last_error}</p>
            </div>
          )}
          <div class="columns job">
            <div class="stack">
              <Card title="What happened" id="timeline">
                <Paged<Happening>
                  path={`${path}/history?order_dir=desc&limit=100`}
                  by="offset"
                  upwards
                  when={when}
                  id={(one) => one.id}
                  run={run}
                >
                  {(rows) => <Timeline happenings={rows} />}
                </Paged>
              </Card>
              {(data.target !== null || data.attempt > 0) && (
                <Card title="Attempts" flush>
                  <Paged<Attempt>
                    path={`${path}/attempts?order_dir=desc&limit=50`}
                    by="offset"
                    when={when}
                    id={(one) => String(one.attempt)}
                    run={run}
                  >
                    {(rows) => <Attempts job={data} attempts={rows} />}
                  </Paged>
                </Card>
              )}
            </div>
            <div class="stack">
              <Card title="Payload">
                <Text label="payload" value={data.payload} />
              </Card>
              {data.result !== null && (
                <Card title="Result">
                  <Text label="result" value={data.result} />
                </Card>
              )}
              <Card title="About it">
                <About job={data} />
              </Card>
            </div>
          </div>
        </>
      )}
    </Shown>
  );
}

const spoken = (reason: string): string =>
  ({
    attempts_exhausted: "Given up after its last retry",
    given_up: "Its worker said not to try again",
    gone: "The receiver said that it is gone (410)",
    quarantined: "Quarantined: three processes died under it",
  })[reason] ?? reason;

function Actions({ job, again }: { job: Shape; again: () => void }) {
  const path = `/jobs/${job.id}`;
  return (
    <>
      {job.status === "deadletter" && (
        <Act
          kind="main"
          icon="play"
          run={async () => {
            if (await attempt(() => post(`${path}/retry`), "It is tried again"))
              again();
          }}
        >
          Retry
        </Act>
      )}
      {job.target !== null && !OPEN.has(job.status) && (
        <Act
          icon="play"
          run={async () => {
            let made = "";
            const yes = await sure(
              "Send it again?",
              "A new job carries the same request, under the same webhook-id: a receiver that remembers ids does nothing twice.",
              "Send again",
              { danger: false },
            );
            if (!yes) return;
            const done = await attempt(async () => {
              made = (await post<{ id: string }>(`${path}/resend`)).id;
            }, "It is sent again");
            if (done) go(`/jobs/${made}`);
          }}
        >
          Send again
        </Act>
      )}
      {CANCELLABLE.has(job.status) && (
        <Act
          kind="danger"
          icon="close"
          run={async () => {
            const yes = await sure(
              "Cancel this job?",
              "It ends as cancelled, and nobody will work on it.",
              "Cancel it",
            );
            if (yes && (await attempt(() => remove(path), "It is cancelled"))) again();
          }}
        >
          Cancel
        </Act>
      )}
    </>
  );
}

/** Why it is not running: asked again whenever something happens to it, or on demand. */
function Why({ job }: { job: Shape }) {
  const path = `/jobs/${job.id}/explain`;
  const asked = useAsked(
    `${path}-${job.updated_at}`,
    () => get<Explanation>(path),
    aboutJob(job.id),
  );
  return (
    <Shown asked={asked}>
      {(why) => (
        <div class="callout">
          <div class="callout-head">
            <b>
              {why.reason === "running" ? "It is running" : "Why is it not running?"}
            </b>
            <button type="button" class="button quiet" onClick={asked.again}>
              Look again
            </button>
          </div>
          <p>{why.message}.</p>
          {why.until && (
            <p class="sub">
              {why.reason === "running" ? "Its lease ends " : "That is over "}
              <When at={why.until} />, at {moment(why.until)}.
            </p>
          )}
          {why.reason !== "waits_for_others" && (why.before ?? 0) > 0 && (
            <p class="sub">
              {count(why.before ?? 0)}
              {why.before === 1000 ? " or more" : ""} of its queue come before it.
            </p>
          )}
          {why.parents.length > 0 && (
            <ul class="parents">
              {why.parents.map((parent) => (
                <li key={parent.job_id}>
                  <Link to={`/jobs/${parent.job_id}`}>
                    {parent.key ?? brief(parent.job_id)}
                  </Link>{" "}
                  <Badge of={parent.status} />
                </li>
              ))}
            </ul>
          )}
        </div>
      )}
    </Shown>
  );
}

function About({ job }: { job: Shape }) {
  const target = job.target;
  return (
    <Facts
      of={
        [
          ["Id", <code key="id">{job.id}</code>],
          [
            "Target",
            target?.endpoint_id ? (
              <Link to={`/endpoints/${target.endpoint_id}`}>endpoint</Link>
            ) : target?.url ? (
              `${target.method} ${target.url}`
            ) : (
              "a worker"
            ),
          ],
          ...(job.webhook_id
            ? [
                ["webhook-id", <code key="w">{job.webhook_id}</code>] as [
                  string,
                  unknown,
                ],
              ]
            : []),
          ["Priority", job.priority],
          ["Retries", `${job.retry_count} of ${job.max_retries} used`],
          ["Attempts", job.attempt],
          ["Scheduled", job.scheduled_at && moment(job.scheduled_at)],
          ["Started", job.started_at && moment(job.started_at)],
          ["Ended", job.completed_at && moment(job.completed_at)],
          ["Expires", job.expires_at && moment(job.expires_at)],
          ["Worked on by", job.assigned_worker_id],
          ["Lease until", job.lease_expires_at && moment(job.lease_expires_at)],
          ["Idempotency key", job.idempotency_key],
          ["Ordering key", job.ordering_key],
          ["Concurrency key", job.concurrency_key],
          ["Tags", <Tags key="t" of={job.tags} />],
          [
            "Workflow",
            job.workflow_id && (
              <Link to={`/workflows/${job.workflow_id}`}>{brief(job.workflow_id)}</Link>
            ),
          ],
          [
            "Parent",
            job.parent_job_id && (
              <Link to={`/jobs/${job.parent_job_id}`}>{brief(job.parent_job_id)}</Link>
            ),
          ],
        ].filter(
          ([name, value]) =>
            value !== null && value !== "" && (name !== "Tags" || job.tags !== null),
        ) as [string, string][]
      }
    />
  );
}

function Tags({ of }: { of: unknown }) {
  const words = Array.isArray(of)
    ? of.map((word) => (typeof word === "string" ? word : JSON.stringify(word)))
    : Object.entries(Object(of)).map(
        ([name, value]) =>
          `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`,
      );
  return (
    <span class="tags">
      {words.map((word) => (
        <span key={word}>{word}</span>
      ))}
    </span>
  );
}
