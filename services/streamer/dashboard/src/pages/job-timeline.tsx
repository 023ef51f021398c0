// Every transition of a job in order, with how long lay between, and how each attempt
// that ended with it went.

import { duration, moment, timeOfDay } from "../format";
import type { Attempt, Happening } from "../shapes";

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
/** What ends an attempt. */
const ENDING = new Set(["completed", "retrying", "deadlettered"]);

export function Timeline({
  happenings,
  attempts,
  more,
}: {
  happenings: Happening[];
  attempts: Attempt[];
  more: boolean;
}) {
  const byNumber = new Map(attempts.map((attempt) => [attempt.attempt, attempt]));
  return (
    <>
      <ol class="timeline">
        {happenings.map((happening, n) => {
          const what = happening.event_type.replace("job.", "");
          const before = happenings[n - 1];
          const attempt = ENDING.has(what)
            ? byNumber.get(happening.attempt)
            : undefined;
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
                        Date.parse(happening.created_at) -
                          Date.parse(before.created_at),
                      )}
                    </span>
                  )}
                </time>
              </div>
              <p class="moment-more">
                {happening.attempt > 0 && `attempt ${happening.attempt}`}
                {attempt?.status_code && ` · HTTP ${attempt.status_code}`}
                {attempt && ` · ${duration(attempt.duration_ms)}`}
                {happening.worker_id && ` · ${happening.worker_id}`}
              </p>
              <Details of={happening.details} />
            </li>
          );
        })}
      </ol>
      {more && <p class="faint">Only the first hundred are shown.</p>}
    </>
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
