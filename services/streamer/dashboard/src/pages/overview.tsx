// Everything at a glance: how much, how fast, how well, and what is failing now.

import { useState } from "preact/hooks";
import { get, list, type Page, type Refused } from "../api";
import { count, duration, percent } from "../format";
import { SECONDS } from "../live";
import { about, aboutJobs, useAsked, useLive } from "../query";
import type { Dashboard, Endpoint, Groups, Point } from "../shapes";
import { Badge, Card, Empty, Failure, Head, Link, Shown, When } from "../ui/parts";
import { Plot } from "../ui/plot";
import { Standing } from "./endpoints";

/** As many endpoints in trouble are shown, and as many are looked at for them. */
const SICK_MAX = 4;
const ENDPOINTS_MAX = 5000;

const SPANS = [
  { name: "Live", hours: 0 },
  { name: "1 h", hours: 1 },
  { name: "6 h", hours: 6 },
  { name: "24 h", hours: 24 },
];

export function Overview() {
  const shown = useAsked(
    "overview",
    () => get<Dashboard>("/dashboard"),
    (frame) => aboutJobs(frame) || about("Worker", "Queue", "SystemHealth")(frame),
  );
  return (
    <>
      <Head
        title="Overview"
        note={
          shown.data &&
          `Bellhop ${shown.data.system.version}, up ${duration(
            shown.data.system.uptime_seconds * 1000,
          )}`
        }
      />
      <Shown asked={shown}>{(data) => <Figures data={data} />}</Shown>
      <Plots />
      <div class="columns">
        <Failing />
        <Shown asked={shown}>{(data) => <Busiest queues={data.queues} />}</Shown>
      </div>
    </>
  );
}

function Figures({ data }: { data: Dashboard }) {
  const { jobs, workers } = data;
  const ended = jobs.completed_24h + jobs.failed_24h;
  const ratio = ended === 0 ? null : jobs.completed_24h / ended;
  return (
    <div class="figures">
      <Figure
        name="Success, 24 h"
        value={percent(ratio)}
        note={
          ended === 0
            ? "no job has ended yet"
            : `${count(jobs.completed_24h)} of ${count(ended)} jobs`
        }
        mood={
          ratio === null ? "" : ratio >= 0.99 ? "good" : ratio >= 0.9 ? "warn" : "bad"
        }
      />
      <Figure
        name="Waiting"
        value={count(jobs.pending)}
        note={`${count(jobs.scheduled)} scheduled for later`}
        to="/jobs?status=pending"
      />
      <Figure
        name="In work"
        value={count(jobs.processing)}
        note={
          jobs.avg_processing_time_ms === null
            ? "none measured yet"
            : `${duration(jobs.avg_processing_time_ms)} on average`
        }
        to="/jobs?status=processing"
      />
      <Figure
        name="Dead letters"
        value={count(jobs.deadletter)}
        note={`${count(jobs.failed_24h)} in 24 h`}
        mood={jobs.deadletter > 0 ? "bad" : ""}
        to="/dead-letters"
      />
      <Figure
        name="Workers"
        value={count(workers.total)}
        note={
          workers.unhealthy > 0
            ? `${workers.unhealthy} silent`
            : workers.total > 0
              ? "all heard of"
              : "none registered"
        }
        mood={workers.unhealthy > 0 ? "warn" : ""}
        to="/workers"
      />
    </div>
  );
}

function Figure({
  name,
  value,
  note,
  mood = "",
  to,
}: {
  name: string;
  value: string;
  note: string;
  mood?: string;
  to?: string;
}) {
  const inside = (
    <>
      <span class="figure-name">{name}</span>
      <span class={`figure-value ${mood}`}>{value}</span>
      <span class="figure-note">{note}</span>
    </>
  );
  return to ? (
    <Link to={to} class="figure">
      {inside}
    </Link>
  ) : (
    <div class="figure">{inside}</div>
  );
}

function Plots() {
  const [hours, set] = useState(1);
  return (
    <section class="plots" aria-label="Over time">
      <div class="spans" role="group" aria-label="Span of time">
        {SPANS.map((span) => (
          <button
            key={span.name}
            type="button"
            aria-pressed={hours === span.hours}
            onClick={() => set(span.hours)}
          >
            {span.name}
          </button>
        ))}
      </div>
      {hours === 0 ? <Lately /> : <Hours hours={hours} />}
    </section>
  );
}

const rate = (value: number): string => `${count(value)}/s`;

function Hours({ hours }: { hours: number }) {
  const asked = useAsked(
    `series-${hours}`,
    () =>
      get<{ bucket_seconds: number; points: Point[] }>(
        `/dashboard/series?hours=${hours}`,
      ),
    (frame) => frame.type === "SystemHealth",
  );
  return (
    <Shown asked={asked}>
      {({ points, bucket_seconds }) => {
        const times = points.map((point) => Date.parse(point.at) / 1000);
        // The last bucket is not full yet.
        const began = times.at(-1) ?? 0;
        const filled = Math.max(
          10,
          Math.min(bucket_seconds, Date.now() / 1000 - began),
        );
        const per = (value: number, at: number): number =>
          value / (at === points.length - 1 ? filled : bucket_seconds);
        return (
          <div class="plot-grid">
            <Card title="Throughput">
              <Plot
                label="Jobs a second"
                times={times}
                unit={rate}
                lines={[
                  {
                    name: "created",
                    colour: "--info",
                    values: points.map((p, n) => per(p.created, n)),
                  },
                  {
                    name: "completed",
                    colour: "--good",
                    values: points.map((p, n) => per(p.completed, n)),
                    fill: true,
                  },
                  {
                    name: "failed",
                    colour: "--bad",
                    values: points.map((p, n) => per(p.failed + p.retried, n)),
                  },
                ]}
              />
            </Card>
            <Card title="Latency">
              <Plot
                label="Average milliseconds"
                times={times}
                unit={duration}
                least={10}
                lines={[
                  {
                    name: "waiting",
                    colour: "--late",
                    values: points.map((p) => p.avg_wait_time_ms),
                  },
                  {
                    name: "in work",
                    colour: "--accent",
                    values: points.map((p) => p.avg_processing_time_ms),
                  },
                ]}
              />
            </Card>
            <Card title="Backlog">
              <Plot
                label="Jobs that are not over"
                times={times}
                unit={count}
                least={5}
                lines={[
                  {
                    name: "open jobs",
                    colour: "--late",
                    values: points.map((p) => p.open),
                    fill: true,
                  },
                ]}
              />
            </Card>
          </div>
        );
      }}
    </Shown>
  );
}

/** The last minutes, counted here as events come. */
function Lately() {
  const { seconds, figures } = useLive();
  const step = 5;
  const now = Math.floor(Date.now() / 1000 / step) * step;
  const times = Array.from(
    { length: SECONDS / step },
    (_, n) => now - SECONDS + n * step,
  );
  const slots = times.map((at) =>
    seconds.filter((second) => second.at >= at && second.at < at + step),
  );
  const per = (pick: "created" | "completed" | "failed"): number[] =>
    slots.map((slot) => slot.reduce((sum, second) => sum + second[pick], 0) / step);
  const quantile = (q: number): (number | null)[] =>
    slots.map((slot) => {
      const sorted = slot.flatMap((second) => second.durations).sort((a, b) => a - b);
      return sorted[Math.floor(q * (sorted.length - 1))] ?? null;
    });
  return (
    <div class="plot-grid two">
      <Card title="Throughput" aside={<span class="faint">last five minutes</span>}>
        <Plot
          label="Jobs a second"
          times={times}
          unit={rate}
          lines={[
            { name: "created", colour: "--info", values: per("created") },
            {
              name: "completed",
              colour: "--good",
              values: per("completed"),
              fill: true,
            },
            { name: "failed", colour: "--bad", values: per("failed") },
          ]}
        />
      </Card>
      <Card
        title="Latency"
        aside={
          <span class="faint">
            {figures
              ? `${count(figures.pending + figures.processing)} jobs open`
              : "of completed jobs"}
          </span>
        }
      >
        <Plot
          label="Milliseconds in work"
          times={times}
          unit={duration}
          least={10}
          lines={[
            { name: "median", colour: "--accent", values: quantile(0.5) },
            { name: "95 %", colour: "--late", values: quantile(0.95) },
          ]}
        />
      </Card>
    </div>
  );
}

/** Endpoints in trouble; a key of some queues sees none. */
async function sickEndpoints(): Promise<Endpoint[]> {
  const sick: Endpoint[] = [];
  let page: Page<Endpoint>;
  let offset = 0;
  do {
    try {
      page = await list<Endpoint>(`/endpoints?limit=100&offset=${offset}`);
    } catch (failure) {
      if ((failure as Refused).status === 403) return [];
      throw failure;
    }
    sick.push(
      ...page.rows.filter((one) => !one.enabled || one.stats.breaker !== "closed"),
    );
    offset += page.rows.length;
  } while (page.more && sick.length < SICK_MAX && offset < ENDPOINTS_MAX);
  return sick.slice(0, SICK_MAX);
}

function Failing() {
  const groups = useAsked(
    "groups",
    () => get<Groups>("/jobs/dlq/groups"),
    (frame) =>
      frame.data.new_status === "deadletter" || frame.data.old_status === "deadletter",
  );
  const endpoints = useAsked("sick-endpoints", sickEndpoints, about("Endpoint"));
  const sick = endpoints.data ?? [];
  return (
    <Card title="What is failing" flush>
      {endpoints.error && <Failure error={endpoints.error} again={endpoints.again} />}
      <Shown asked={groups}>
        {({ groups: found }) =>
          found.length + sick.length === 0 ? (
            endpoints.data === null ? null : (
              <Empty title="Nothing is failing.">
                <p>Dead letters and endpoints in trouble would stand here.</p>
              </Empty>
            )
          ) : (
            <ul class="rows">
              {sick.map((one) => (
                <li key={one.id}>
                  <Link to={`/endpoints/${one.id}`} class="row-link">
                    <Standing of={one} />
                    <span class="grow clip">{one.url}</span>
                    <span class="faint">{count(one.stats.waiting)} waiting</span>
                  </Link>
                </li>
              ))}
              {found.slice(0, 7).map((group) => (
                <li key={`${group.queue_name}\n${group.error}\n${group.dead_reason}`}>
                  <Link
                    to={`/dead-letters?queue=${encodeURIComponent(group.queue_name)}&error=${encodeURIComponent(group.error)}`}
                    class="row-link"
                  >
                    <span class="tally">{count(group.count)}</span>
                    <span class="grow clip">
                      {group.error || group.dead_reason}
                      <span class="sub">{group.queue_name}</span>
                    </span>
                    <span class="faint">
                      <When at={group.last_at} />
                    </span>
                  </Link>
                </li>
              ))}
            </ul>
          )
        }
      </Shown>
    </Card>
  );
}

function Busiest({ queues }: { queues: Dashboard["queues"] }) {
  const most = Math.max(1, ...queues.map((queue) => queue.pending + queue.processing));
  return (
    <Card title="Busiest queues" aside={<Link to="/queues">All queues</Link>} flush>
      {queues.length === 0 ? (
        <Empty title="No queues yet.">
          <p>A queue exists as soon as it has a job.</p>
        </Empty>
      ) : (
        <ul class="rows">
          {queues.slice(0, 8).map((queue) => (
            <li key={queue.name}>
              <Link
                to={`/jobs?queue=${encodeURIComponent(queue.name)}`}
                class="row-link"
              >
                <span class="grow clip">
                  {queue.name} {queue.paused && <Badge of="paused" />}
                </span>
                <meter
                  class="load"
                  min={0}
                  max={most}
                  value={queue.pending + queue.processing}
                  aria-label={`Open jobs of ${queue.name}`}
                />
                <span class="faint fixed">
                  {count(queue.pending)} waiting, {count(queue.processing)} in work
                </span>
              </Link>
            </li>
          ))}
        </ul>
      )}
    </Card>
  );
}
