// All workflows, and how far each has come.

import { count } from "../format";
import { about, aboutJobs } from "../query";
import { useParams } from "../router";
import type { WorkflowSummary } from "../shapes";
import { Paged } from "../ui/pages";
import { Badge, Card, Empty, Head, Link, Table, When } from "../ui/parts";

const STATUSES = ["pending", "running", "completed", "failed", "cancelled"];

export function Workflows() {
  const [params, change] = useParams();
  const status = params.get("status");
  return (
    <>
      <Head title="Workflows" note="Jobs that wait for jobs." />
      <div class="filters">
        <div class="chips" role="group" aria-label="Status">
          <button
            type="button"
            aria-pressed={!status}
            onClick={() => change({ status: null })}
          >
            All
          </button>
          {STATUSES.map((one) => (
            <button
              key={one}
              type="button"
              aria-pressed={status === one}
              onClick={() => change({ status: one })}
            >
              {one}
            </button>
          ))}
        </div>
      </div>
      <Paged<WorkflowSummary>
        path={`/workflows?limit=50${status ? `&status=${encodeURIComponent(status)}` : ""}`}
        by="offset"
        when={(frame) => about("Workflow")(frame) || aboutJobs(frame)}
        id={(one) => one.id}
      >
        {(rows) => (
          <Card flush>
            {rows.length === 0 ? (
              <Empty title={status ? "No workflow is like that." : "No workflows yet."}>
                <p>
                  <code>POST /api/v1/workflows</code> makes one. <a href="/docs">How</a>
                </p>
              </Empty>
            ) : (
              <Table
                label="Workflows"
                rows={rows}
                id={(one) => one.id}
                columns={[
                  {
                    name: "Workflow",
                    kind: "wide",
                    cell: (one) => (
                      <Link to={`/workflows/${one.id}`} class="strong">
                        <span class="clip">{one.name}</span>
                        {one.description && <span class="sub">{one.description}</span>}
                      </Link>
                    ),
                  },
                  { name: "Status", cell: (one) => <Badge of={one.status} /> },
                  {
                    name: "Progress",
                    cell: (one) => (
                      <span class="progress-cell">
                        <progress
                          max={100}
                          value={one.progress_percent}
                          aria-label={`Progress of ${one.name}`}
                        />
                        <span class="faint">
                          {count(one.completed_jobs)} of {count(one.total_jobs)}
                        </span>
                      </span>
                    ),
                  },
                  {
                    name: "Failed",
                    kind: "number",
                    cell: (one) =>
                      one.failed_jobs > 0 ? (
                        <span class="error-text">{one.failed_jobs}</span>
                      ) : (
                        0
                      ),
                  },
                  { name: "Created", cell: (one) => <When at={one.created_at} /> },
                ]}
              />
            )}
          </Card>
        )}
      </Paged>
    </>
  );
}
