// Who works: how much, and when they were last heard of.

import { count } from "../format";
import { about } from "../query";
import type { Worker } from "../shapes";
import { Paged } from "../ui/pages";
import { Badge, Card, Empty, Head, Table, When } from "../ui/parts";

export function Workers() {
  return (
    <>
      <Head
        title="Workers"
        note="Those that registered. One need not register to work."
      />
      <Paged<Worker>
        path="/workers?limit=50"
        by="offset"
        when={about("Worker")}
        id={(one) => one.id}
      >
        {(rows) => (
          <Card flush>
            {rows.length === 0 ? (
              <Empty title="No workers have registered.">
                <p>
                  Workers take jobs that have no target, over REST or gRPC.{" "}
                  <a href="/docs">How</a>
                </p>
              </Empty>
            ) : (
              <Table
                label="Workers"
                rows={rows}
                id={(one) => one.id}
                columns={[
                  {
                    name: "Worker",
                    kind: "wide",
                    cell: (one) => (
                      <span class="strong">
                        {one.hostname}
                        <span class="sub">
                          {[one.worker_type, one.version, one.id]
                            .filter(Boolean)
                            .join(" · ")}
                        </span>
                      </span>
                    ),
                  },
                  { name: "Status", cell: (one) => <Badge of={one.status} /> },
                  { name: "Queue", cell: (one) => one.queue_names.join(", ") },
                  {
                    name: "Busy",
                    cell: (one) => (
                      <span class="progress-cell">
                        <meter
                          class="load"
                          min={0}
                          max={Math.max(1, one.max_concurrency)}
                          value={one.current_jobs}
                          aria-label={`How busy ${one.hostname} is`}
                        />
                        <span class="faint">
                          {one.current_jobs} of {one.max_concurrency}
                        </span>
                      </span>
                    ),
                  },
                  {
                    name: "Completed",
                    kind: "number",
                    cell: (one) => count(one.jobs_processed),
                  },
                  {
                    name: "Failed",
                    kind: "number",
                    cell: (one) => count(one.jobs_failed),
                  },
                  { name: "Heard of", cell: (one) => <When at={one.last_heartbeat} /> },
                ]}
              />
            )}
          </Card>
        )}
      </Paged>
    </>
  );
}
