// What is made again and again, and when next.

import { post } from "../api";
import { count, moment } from "../format";
import { about } from "../query";
import type { Schedule } from "../shapes";
import { Paged } from "../ui/pages";
import { Act, Badge, Card, Empty, Head, Link, Table, When } from "../ui/parts";
import { attempt } from "../ui/talk";

export function PauseOrResume({ one, again }: { one: Schedule; again: () => void }) {
  if (one.state === "ended") return null;
  const deed = one.is_active ? "pause" : "resume";
  return (
    <Act
      icon={one.is_active ? "pause" : "play"}
      run={async () => {
        const run = () => post(`/schedules/${one.id}/${deed}`);
        const done = one.is_active ? "It is paused" : "It goes on";
        if (await attempt(run, done)) again();
      }}
    >
      {one.is_active ? "Pause" : "Resume"}
    </Act>
  );
}

export function Schedules() {
  return (
    <>
      <Head title="Schedules" note="Jobs that are made again and again." />
      <Paged<Schedule>
        path="/schedules?limit=50"
        by="offset"
        when={about("Schedule")}
        id={(one) => one.id}
      >
        {(rows, again) => (
          <Card flush>
            {rows.length === 0 ? (
              <Empty title="No schedules yet.">
                <p>
                  <code>POST /api/v1/schedules</code> makes one. <a href="/docs">How</a>
                </p>
              </Empty>
            ) : (
              <Table
                label="Schedules"
                rows={rows}
                id={(one) => one.id}
                columns={[
                  {
                    name: "Schedule",
                    kind: "wide",
                    cell: (one) => (
                      <Link to={`/schedules/${one.id}`} class="strong">
                        {one.name}
                        <span class="sub">into {one.queue_name}</span>
                      </Link>
                    ),
                  },
                  { name: "State", cell: (one) => <Badge of={one.state} /> },
                  {
                    name: "Rule",
                    cell: (one) => (
                      <>
                        <code>{one.cron_expression}</code>
                        <span class="sub">{one.timezone}</span>
                      </>
                    ),
                  },
                  {
                    name: "Next",
                    cell: (one) =>
                      one.is_active && one.next_run_at ? (
                        <span title={moment(one.next_run_at)}>
                          <When at={one.next_run_at} />
                        </span>
                      ) : (
                        <span class="faint">–</span>
                      ),
                  },
                  { name: "Last", cell: (one) => <When at={one.last_run_at} /> },
                  { name: "Runs", kind: "number", cell: (one) => count(one.run_count) },
                  {
                    name: "",
                    kind: "tail",
                    cell: (one) => <PauseOrResume one={one} again={again} />,
                  },
                ]}
              />
            )}
          </Card>
        )}
      </Paged>
    </>
  );
}
