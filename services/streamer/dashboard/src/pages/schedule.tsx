// One schedule: its next fires, and what became of those before.

import { get, post } from "../api";
import { moment, momentIn } from "../format";
import { about, aboutJobs, useAsked } from "../query";
import { useId } from "../router";
import type { Run, Schedule as Shape } from "../shapes";
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
  Text,
  When,
} from "../ui/parts";
import { attempt } from "../ui/talk";
import { PauseOrResume } from "./schedules";

const FIRES_SHOWN = 8;

interface Fire {
  utc: string;
}

export function Schedule() {
  const id = useId();
  const path = `/schedules/${encodeURIComponent(id)}`;
  const asked = useAsked(path, () => get<Shape>(path), about("Schedule"));
  return (
    <Shown asked={asked}>
      {(one) => (
        <>
          <Head
            of={["/schedules", "Schedules"]}
            title={
              <>
                {one.name} <Badge of={one.state} />
              </>
            }
            note={one.description}
          >
            <Act
              icon="play"
              run={async () => {
                const run = () => post(`${path}/trigger`);
                if (await attempt(run, "A job was made")) asked.again();
              }}
            >
              Trigger now
            </Act>
            <PauseOrResume one={one} again={asked.again} />
          </Head>
          <div class="columns job">
            <div class="stack">
              <History path={path} />
            </div>
            <div class="stack">
              <Card
                title="Next fires"
                aside={<span class="faint">{one.timezone}</span>}
                flush
              >
                <Fires one={one} />
              </Card>
              <Card title="About it">
                <Facts
                  of={[
                    ["Rule", <code key="c">{one.cron_expression}</code>],
                    ["Zone", one.timezone],
                    [
                      "Queue",
                      <Link
                        key="q"
                        to={`/jobs?queue=${encodeURIComponent(one.queue_name)}`}
                      >
                        {one.queue_name}
                      </Link>,
                    ],
                    ["When missed", one.misfire.replace("_", " ")],
                    ["When one still runs", one.overlap.replace("_", " ")],
                    [
                      "Jitter",
                      one.jitter_seconds
                        ? `up to ${one.jitter_seconds} s later than is said above`
                        : "none",
                    ],
                    ["From", one.start_at && moment(one.start_at)],
                    ["Until", one.end_at && moment(one.end_at)],
                    ["Runs", one.run_count],
                  ]}
                />
              </Card>
              <Card title="Payload">
                <Text label="payload" value={one.payload_template} />
              </Card>
            </div>
          </div>
        </>
      )}
    </Shown>
  );
}

/** When it fires: as it will next, and from there on as its rule says, to its end. */
async function firesOf(one: Shape): Promise<Fire[]> {
  const { next_run_at: first, next_tick: tick } = one;
  if (first === null || tick === null) return [];
  const { fires } = await post<{ fires: Fire[] }>("/schedules/preview", {
    cron_expression: one.cron_expression,
    timezone: one.timezone,
    from: tick,
    count: FIRES_SHOWN - 1,
  });
  const end = one.end_at === null ? Number.POSITIVE_INFINITY : Date.parse(one.end_at);
  return [{ utc: first }, ...fires.filter((fire) => Date.parse(fire.utc) < end)];
}

function Fires({ one }: { one: Shape }) {
  const rule = [one.cron_expression, one.timezone, one.next_run_at, one.end_at];
  const asked = useAsked(JSON.stringify(["fires", one.id, ...rule]), () =>
    firesOf(one),
  );
  if (one.state === "ended") return <Empty title="It has ended, and fires no more." />;
  if (!one.is_active) return <Empty title="It is paused, and fires nothing." />;
  return (
    <Shown asked={asked}>
      {(fires) => (
        <ol class="rows">
          {fires.map((fire) => (
            <li key={fire.utc} class="row-link">
              <span class="grow" title={moment(fire.utc)}>
                {momentIn(fire.utc, one.timezone)}
              </span>
              <span class="faint">
                <When at={fire.utc} />
              </span>
            </li>
          ))}
        </ol>
      )}
    </Shown>
  );
}

function History({ path }: { path: string }) {
  return (
    <Card title="History" flush>
      <Paged<Run>
        path={`${path}/history?limit=30`}
        by="offset"
        when={(frame) => about("Schedule")(frame) || aboutJobs(frame)}
        id={(run) => run.id}
      >
        {(rows) =>
          rows.length === 0 ? (
            <Empty title="It has not fired yet." />
          ) : (
            <Table
              label="Runs"
              rows={rows}
              id={(run) => run.id}
              columns={[
                {
                  name: "Fired",
                  cell: (run) =>
                    run.job_id ? (
                      <Link to={`/jobs/${run.job_id}`} class="strong">
                        {moment(run.started_at)}
                      </Link>
                    ) : (
                      moment(run.started_at)
                    ),
                },
                {
                  name: "Status",
                  cell: (run) => <Badge of={run.job_status ?? run.status} />,
                },
                { name: "By", cell: (run) => run.source.replace("_", " ") },
                {
                  name: "Error",
                  kind: "wide",
                  cell: (run) =>
                    run.error_message && (
                      <span class="error-text clip">{run.error_message}</span>
                    ),
                },
              ]}
            />
          )
        }
      </Paged>
    </Card>
  );
}
