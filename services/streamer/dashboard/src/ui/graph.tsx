// A graph of jobs in layers, from what comes first to what comes last: laid out once
// for a shape, and coloured anew whenever a job moves.

import { Graph as Layout, layout } from "@dagrejs/dagre";
import { useMemo } from "preact/hooks";
import { url } from "../router";
import type { Edge, WorkflowJob } from "../shapes";

const WIDTH = 176;
const HEIGHT = 54;
const MARGIN = 24;
const KEY_MAX = 21;
/** How far a wide graph is shrunk before one has to scroll. */
const SHRUNK_MIN = 0.62;

interface Placed {
  width: number;
  height: number;
  at: Map<string, { x: number; y: number }>;
  lines: { from: string; to: string; kind: Edge["dependency_type"]; d: string }[];
}

function placed(ids: string[], edges: Edge[]): Placed {
  const graph = new Layout({ directed: true });
  graph.setGraph({
    rankdir: "LR",
    nodesep: 22,
    ranksep: 64,
    marginx: MARGIN,
    marginy: MARGIN,
  });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const id of ids) graph.setNode(id, { width: WIDTH, height: HEIGHT });
  const known = new Set(ids);
  const inside = edges.filter(
    (edge) => known.has(edge.parent_job_id) && known.has(edge.child_job_id),
  );
  for (const edge of inside) graph.setEdge(edge.parent_job_id, edge.child_job_id);
  layout(graph);
  const whole = graph.graph() as { width: number; height: number };
  return {
    width: whole.width,
    height: whole.height,
    at: new Map(
      ids.map((id) => {
        const { x, y } = graph.node(id) as { x: number; y: number };
        return [id, { x, y }];
      }),
    ),
    lines: inside.map((edge) => {
      const { points } = graph.edge(edge.parent_job_id, edge.child_job_id) as {
        points: { x: number; y: number }[];
      };
      const [from, to] = [
        graph.node(edge.parent_job_id),
        graph.node(edge.child_job_id),
      ];
      const ends = [
        { x: from.x + WIDTH / 2, y: from.y },
        ...points.slice(1, -1),
        { x: to.x - WIDTH / 2 - 1, y: to.y },
      ];
      return {
        from: edge.parent_job_id,
        to: edge.child_job_id,
        kind: edge.dependency_type,
        d: curve(ends),
      };
    }),
  };
}

/** A soft line through points that go from left to right. */
function curve(points: { x: number; y: number }[]): string {
  const [first, ...rest] = points;
  if (first === undefined) return "";
  let d = `M${first.x},${first.y}`;
  let before = first;
  for (const point of rest) {
    const middle = (before.x + point.x) / 2;
    d += ` C${middle},${before.y} ${middle},${point.y} ${point.x},${point.y}`;
    before = point;
  }
  return d;
}

const spoken = (word: string): string => (word === "deadletter" ? "dead letter" : word);

export function Graph({ jobs, edges }: { jobs: WorkflowJob[]; edges: Edge[] }) {
  const shape = JSON.stringify([jobs.map((job) => job.id), edges]);
  const plan = useMemo(
    () =>
      placed(
        jobs.map((job) => job.id),
        edges,
      ),
    [shape],
  );
  const status = new Map(
    jobs.map((job) => [job.id, job.skipped ? "skipped" : job.status]),
  );
  return (
    <div class="graph" tabIndex={0} role="region" aria-label="The graph of jobs">
      <svg
        width={plan.width}
        height={plan.height}
        style={{ minWidth: `${Math.round(plan.width * SHRUNK_MIN)}px` }}
        viewBox={`0 0 ${plan.width} ${plan.height}`}
        role="group"
        aria-label={`${jobs.length} jobs, and what each waits for; the table below says the same`}
      >
        <defs>
          <marker
            id="arrow"
            viewBox="0 0 8 8"
            refX="7"
            refY="4"
            markerWidth="7"
            markerHeight="7"
            orient="auto-start-reverse"
          >
            <path d="M0 0 8 4 0 8z" class="arrow" />
          </marker>
        </defs>
        {plan.lines.map((line) => (
          <path
            key={`${line.from}-${line.to}`}
            d={line.d}
            class={`edge on-${line.kind} is-${status.get(line.from)}`}
            marker-end="url(#arrow)"
          />
        ))}
        {jobs.map((job) => {
          const at = plan.at.get(job.id);
          if (at === undefined) return null;
          const word = status.get(job.id) ?? "";
          return (
            <a key={job.id} href={url(`/jobs/${job.id}`)} class={`node is-${word}`}>
              <g transform={`translate(${at.x - WIDTH / 2} ${at.y - HEIGHT / 2})`}>
                <rect width={WIDTH} height={HEIGHT} rx="10" />
                <circle cx="17" cy="20" r="4.5" />
                <text x="30" y="24" class="node-key">
                  {job.key.length > KEY_MAX
                    ? `${job.key.slice(0, KEY_MAX - 1)}…`
                    : job.key}{" "}
                </text>
                <text x="30" y="42" class="node-sub">
                  {spoken(word)}
                  {job.attempt > 1 ? ` · attempt ${job.attempt}` : ""}
                </text>
              </g>
            </a>
          );
        })}
      </svg>
    </div>
  );
}
