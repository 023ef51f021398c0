// One receiver: how it is, what it was sent, and what can be done about it.

import { get, list, post, spell } from "../api";
import { count, duration, moment, percent } from "../format";
import { about, aboutJobs, useAsked } from "../query";
import { useId, useParams } from "../router";
import type { EndpointAttempt, Replay, Endpoint as Shape } from "../shapes";
import { Paged } from "../ui/pages";
import {
  Act,
  Badge,
  Card,
  Empty,
  Facts,
  Head,
  Link,
  Shown,
  Table,
  When,
} from "../ui/parts";
import { attempt } from "../ui/talk";
import { Actions } from "./endpoint-actions";
import { Standing } from "./endpoints";

export function Endpoint() {
  const id = useId();
  const path = `/endpoints/${encodeURIComponent(id)}`;
  const asked = useAsked(
    path,
    () => get<Shape>(path),
    (frame) => about("Endpoint")(frame) || aboutJobs(frame),
  );
  return (
    <Shown asked={asked}>
      {(one) => (
        <>
          <Head
            of={["/endpoints", "Endpoints"]}
            title={
              <>
                <span class="clip">{one.url}</span> <Standing of={one} />
              </>
            }
            note={one.description}
          >
            <Actions one={one} again={asked.again} />
          </Head>
          {!one.enabled && (
            <div class="callout is-bad">
              <b>It is disabled{one.disabled_reason && `: ${one.disabled_reason}`}</b>
              <p>
                {count(one.stats.waiting)} deliveries wait for it since{" "}
                <When at={one.disabled_at} />. None of their retries is used up.
              </p>
            </div>
          )}
          {one.enabled && one.stats.breaker !== "closed" && (
            <div class="callout is-bad">
              {one.stats.breaker === "open" ? (
                <>
                  <b>Its breaker is open: too much failed</b>
                  <p>
                    The next delivery is tried <When at={one.stats.open_until} />; if
                    that succeeds, all go on. None of their retries is used up
                    meanwhile.
                  </p>
                </>
              ) : (
                <>
                  <b>Its breaker is on trial</b>
                  <p>
                    The next delivery is the trial: if it succeeds all go on, else the
                    breaker opens again.
                  </p>
                </>
              )}
            </div>
          )}
          <div class="figures">
            <Stat name="Success, 24 h" value={percent(one.stats.success_ratio_24h)} />
            <Stat name="Delivered, 24 h" value={count(one.stats.succeeded_24h)} />
            <Stat name="Failed, 24 h" value={count(one.stats.failed_24h)} />
            <Stat name="Average" value={duration(one.stats.average_duration_ms_24h)} />
            <Stat name="Waiting" value={count(one.stats.waiting)} />
          </div>
          <div class="columns job">
            <div class="stack">
              <Sent path={path} />
            </div>
            <div class="stack">
              <Replays path={path} />
              <Card title="How it wants to be sent to">
                <Facts
                  of={[
                    ["Id", <code key="id">{one.id}</code>],
                    [
                      "Event types",
                      one.event_types.filter((type) => type !== "*").join(", ") ||
                        "all",
                    ],
                    [
                      "Filter",
                      one.filter === null ? "none" : JSON.stringify(one.filter),
                    ],
                    ["Format", one.format],
                    [
                      "Rate",
                      one.rate_limit_per_second === null
                        ? "no limit"
                        : `${one.rate_limit_per_second} a second`,
                    ],
                    ["At once", one.max_concurrency],
                    ["In order", one.ordered ? "yes" : "no"],
                    ["Time-out", `${one.timeout_seconds} s`],
                    ["Retries", one.max_retries],
                    ["Signature", one.signature_scheme],
                    ["Last success", <When key="s" at={one.stats.last_success_at} />],
                    ["Last failure", <When key="f" at={one.stats.last_failure_at} />],
                    ["Last error", one.stats.last_error],
                  ]}
                />
              </Card>
            </div>
          </div>
        </>
      )}
    </Shown>
  );
}

function Stat({ name, value }: { name: string; value: string }) {
  return (
    <div class="figure">
      <span class="figure-name">{name}</span>
      <span class="figure-value">{value}</span>
    </div>
  );
}

function Replays({ path }: { path: string }) {
  const asked = useAsked(
    `${path}/replays`,
    () => list<Replay>(`${path}/replays?limit=5`),
    aboutJobs,
  );
  if (asked.data?.rows.length === 0) return null;
  return (
    <Card title="Replays" flush>
      <Shown asked={asked}>
        {({ rows }) => (
          <ul class="rows">
            {rows.map((replay) => (
              <li key={replay.id} class="row-link">
                <Badge of={replay.state} />
                <span class="grow">
                  {replay.status} since {moment(replay.since)}
                </span>
                <progress
                  max={100}
                  value={
                    replay.progress_percent ?? (replay.state === "completed" ? 100 : 0)
                  }
                  aria-label="Progress of the replay"
                />
                <span class="faint">{count(replay.replayed)} sent</span>
                {replay.state === "running" && (
                  <Act
                    kind="quiet"
                    run={async () => {
                      const run = () => post(`/replays/${replay.id}/cancel`);
                      if (await attempt(run, "The replay stops")) asked.again();
                    }}
                  >
                    Stop
                  </Act>
                )}
              </li>
            ))}
          </ul>
        )}
      </Shown>
    </Card>
  );
}

/** What the API tells apart: failed is refused, unanswered or lost. */
const OUTCOMES: ReadonlySet<string> = new Set(["delivered", "failed"]);

function Sent({ path }: { path: string }) {
  const [params, change] = useParams();
  const asked = params.get("status") ?? "";
  const status = OUTCOMES.has(asked) ? asked : "";
  return (
    <Card
      title="What it was sent"
      flush
      aside={
        <select
          aria-label="Which attempts"
          value={status}
          onChange={(event) => change({ status: event.currentTarget.value })}
        >
          <option value="">all attempts</option>
          <option value="delivered">delivered</option>
          <option value="failed">failed</option>
        </select>
      }
    >
      <Paged<EndpointAttempt>
        path={`${path}/attempts${spell({ limit: 30, status })}`}
        by="offset"
        when={aboutJobs}
        id={(one) => `${one.job_id}-${one.attempt}`}
      >
        {(rows) =>
          rows.length === 0 ? (
            <Empty
              title={
                status ? "No attempt is like that." : "Nothing was sent to it yet."
              }
            />
          ) : (
            <Table
              label="Attempts"
              rows={rows}
              id={(one) => `${one.job_id}-${one.attempt}`}
              columns={[
                {
                  name: "Event",
                  kind: "wide",
                  cell: (one) => (
                    <Link to={`/jobs/${one.job_id}`} class="strong">
                      {one.event_type ?? "job"}
                      <span class="sub">attempt {one.attempt}</span>
                    </Link>
                  ),
                },
                { name: "Outcome", cell: (one) => <Badge of={one.outcome} /> },
                {
                  name: "Answer",
                  cell: (one) =>
                    one.status_code ? (
                      <code>HTTP {one.status_code}</code>
                    ) : (
                      <span class="error-text clip">{one.error}</span>
                    ),
                },
                {
                  name: "Took",
                  kind: "number",
                  cell: (one) => duration(one.duration_ms),
                },
                { name: "When", cell: (one) => <When at={one.started_at} /> },
              ]}
            />
          )
        }
      </Paged>
    </Card>
  );
}
