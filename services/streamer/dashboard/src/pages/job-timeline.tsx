// Every transition of a job in order, with how long lay between, and how the attempt
// went that ended with it.

import { duration, moment, timeOfDay } from "../format";
import type { Happening } from "../shapes";

const SPOKEN: Record<string, string> = {
  created: "Created",
  due: "Its time has come",
  held: "Held: its endpoint is disabled",
  blocked: "Waits for other jobs",
  unblocked: "Waits no more",
  reprioritized: "Priority changed",
  started: "Work begun",
  completed: "Completed",
  retrying: "Failed; tried again later",
  deadlettered: "Given up: a dead letter",
  released: "Handed back",
  recovered: "Taken back from a process that died",
  quarantined: "Quarantined: a dead letter",
  cancelled: "Cancelled",
  expired: "Expired",
  requeued: "Made ready again",
  purged: "Purged",
};
const MOODS: Record<string, string> = {
  completed: "good",
  retrying: "warn",
  recovered: "warn",
  deadlettered: "bad",
  quarantined: "bad",
  started: "info",
};
/** What the line above the details says. */
const SAID_ALREADY = new Set(["duration_ms", "status_code"]);
const NAMES: Record<string, string> = {
  waited_ms: "waited",
  run_at: "again at",
  retry_count: "retries used",
};

export function Timeline({ happenings }: { happenings: Happening[] }) {
  return (
    <ol class="timeline">
      {happenings.map((happening, n) => {
        const what = happening.event_type.replace("job.", "");
        const before = happenings[n - 1];
        const { status_code: status, duration_ms: took } = happening.details ?? {};
        return (
          <li key={happening.id} class={`moment ${MOODS[what] ?? ""}`}>
            <div class="moment-head">
              <span class="moment-what">{SPOKEN[what] ?? what}</span>
              <time
                dateTime={happening.created_at}
                title={moment(happening.created_at)}
              >
                {timeOfDay(happening.created_at)}
                {before && (
                  <span class="faint">
                    {" "}
                    +
                    {duration(
                      Date.parse(happening.created_at) - Date.parse(before.created_at),
                    )}
                  </span>
                )}
              </time>
            </div>
            <p class="moment-more">
              {happening.attempt > 0 && `attempt ${happening.attempt}`}
              {typeof status === "number" && ` · HTTP ${status}`}
              {typeof took === "number" && ` · ${duration(took)}`}
              {happening.worker_id && ` · ${happening.worker_id}`}
            </p>
            <Details of={happening.details} />
          </li>
        );
      })}
    </ol>
  );
}

function Details({ of }: { of: Record<string, unknown> | null }) {
  const told = Object.entries(of ?? {}).filter(
    ([name, value]) =>
      value !== null &&
      !SAID_ALREADY.has(name) &&
      !(name === "retry_count" && value === 0) &&
      !(name === "error" && value === `HTTP ${of?.status_code}`),
  );
  if (told.length === 0) return null;
  return (
    <dl class="details">
      {told.map(([name, value]) => (
        <div key={name}>
          <dt>{NAMES[name] ?? name.replaceAll("_", " ")}</dt>
          <dd class={name === "error" ? "error-text" : ""}>{spelled(name, value)}</dd>
        </div>
      ))}
    </dl>
  );
}

function spelled(name: string, value: unknown): string {
  if (typeof value === "number" && name.endsWith("_ms")) return duration(value);
  if (typeof value === "string") {
    return name.endsWith("_at")
      ? moment(value)
      : name === "reason"
        ? value.replaceAll("_", " ")
        : value;
  }
  return JSON.stringify(value);
}
