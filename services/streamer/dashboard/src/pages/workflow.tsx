// One workflow: its graph, in the colours of what each job is doing.

import { get, post } from "../api";
import { about, aboutJobs, useAsked } from "../query";
import { useId } from "../router";
import type { Workflow as Shape } from "../shapes";
import { Graph } from "../ui/graph";
import { Act, Badge, Card, Head, Link, Shown, Table, When } from "../ui/parts";
import { attempt, sure } from "../ui/talk";

export function Workflow() {
  const id = useId();
  const path = `/workflows/${encodeURIComponent(id)}`;
  const asked = useAsked(
    path,
    () => get<Shape>(path),
    (frame) => about("Workflow")(frame) || aboutJobs(frame),
  );
  return (
    <Shown asked={asked}>
      {(flow) => (
        <>
          <Head
            of={["/workflows", "Workflows"]}
            title={
              <>
                {flow.name} <Badge of={flow.status} />
              </>
            }
            note={
              <>
                {flow.description && `${flow.description} · `}
                {flow.completed_jobs} of {flow.total_jobs} jobs completed, created{" "}
                <When at={flow.created_at} />
              </>
            }
          >
            {flow.status === "failed" && (
              <Act
                kind="main"
                icon="play"
                run={async () => {
                  const run = () => post(`${path}/retry`);
                  if (await attempt(run, "What failed starts over")) asked.again();
                }}
              >
                Retry
              </Act>
            )}
            {(flow.status === "running" || flow.status === "pending") && (
              <Act
                kind="danger"
                icon="close"
                run={async () => {
                  const yes = await sure(
                    "Cancel this workflow?",
                    "Jobs that nobody works on yet end as cancelled.",
                    "Cancel it",
                  );
                  const run = () => post(`${path}/cancel`);
                  if (yes && (await attempt(run, "It is cancelled"))) asked.again();
                }}
              >
                Cancel
              </Act>
            )}
          </Head>
          <Card title="Graph" flush>
            <Graph jobs={flow.jobs} edges={flow.dependencies} />
          </Card>
          <Card title="Jobs" flush>
            <Table
              label="Jobs of the workflow"
              rows={flow.jobs}
              id={(job) => job.id}
              columns={[
                {
                  name: "Job",
                  kind: "wide",
                  cell: (job) => (
                    <Link to={`/jobs/${job.id}`} class="strong">
                      {job.key}
                      <span class="sub">{job.queue_name}</span>
                    </Link>
                  ),
                },
                {
                  name: "Status",
                  cell: (job) => <Badge of={job.skipped ? "skipped" : job.status} />,
                },
                { name: "Attempts", kind: "number", cell: (job) => job.attempt },
                {
                  name: "Waits for",
                  cell: (job) => job.depends_on.join(", ") || "nothing",
                },
                {
                  name: "Error",
                  kind: "wide",
                  cell: (job) =>
                    job.error && (
                      <span class="error-text clip">{job.error.message}</span>
                    ),
                },
                { name: "Ended", cell: (job) => <When at={job.completed_at} /> },
              ]}
            />
          </Card>
        </>
      )}
    </Shown>
  );
}
