// The attempts of a job: what was sent, what came back, how long it took.

import type { ComponentChildren } from "preact";
import { duration, moment } from "../format";
import type { Attempt, Job } from "../shapes";
import { Badge, Empty, Facts, Link, Text } from "../ui/parts";

export function Attempts({ job, attempts }: { job: Job; attempts: Attempt[] }) {
  if (attempts.length === 0) return <Empty title="No attempt yet." />;
  return (
    <ul class="attempts">
      {[...attempts].reverse().map((attempt, n) => (
        <li key={attempt.attempt}>
          <details open={n === 0}>
            <summary>
              <span class="tally">{attempt.attempt}</span>
              <Badge of={attempt.outcome} />
              {attempt.status_code && <code>HTTP {attempt.status_code}</code>}
              <span class="grow clip error-text">{ownWords(attempt)}</span>
              <span class="faint">{duration(attempt.duration_ms)}</span>
            </summary>
            <div class="exchange">
              <section>
                <h3>Request</h3>
                <Request job={job} attempt={attempt} />
              </section>
              <section>
                <h3>Answer</h3>
                <Answer attempt={attempt} />
              </section>
            </div>
          </details>
        </li>
      ))}
    </ul>
  );
}

/** What went wrong, when it is more than the status. */
const ownWords = (attempt: Attempt): string | null =>
  attempt.error === `HTTP ${attempt.status_code}` ? null : attempt.error;

function Request({ job, attempt }: { job: Job; attempt: Attempt }) {
  const target = job.target;
  const own = Object.entries(target?.headers ?? {});
  return (
    <>
      <Facts
        of={[
          ["Began", moment(attempt.started_at)],
          ["Made by", attempt.worker_id],
          [
            "To",
            target?.endpoint_id ? (
              <Link to={`/endpoints/${target.endpoint_id}`}>its endpoint</Link>
            ) : target?.url ? (
              `${target.method} ${target.url}`
            ) : (
              "a worker, who asked for it"
            ),
          ],
          ...(target === null
            ? []
            : ([
                ["webhook-id", <code key="id">{job.webhook_id ?? job.id}</code>],
                ["Signed", "its webhook-id, the second it was sent, and the body"],
              ] as [string, ComponentChildren][])),
        ]}
      />
      {own.length > 0 && (
        <Text
          label={`headers of attempt ${attempt.attempt}`}
          value={own.map(([name, value]) => `${name}: ${value}`).join("\n")}
        />
      )}
    </>
  );
}

function Answer({ attempt }: { attempt: Attempt }) {
  const headers = attempt.response_headers;
  const spelled =
    headers === null
      ? ""
      : Array.isArray(headers)
        ? headers.map((pair) => (pair as string[]).join(": ")).join("\n")
        : Object.entries(headers as Record<string, unknown>)
            .map(([name, value]) => `${name}: ${String(value)}`)
            .join("\n");
  return (
    <>
      {ownWords(attempt) && <p class="error-text">{ownWords(attempt)}</p>}
      {spelled && (
        <Text
          label={`response headers of attempt ${attempt.attempt}`}
          value={spelled}
        />
      )}
      {attempt.response_body !== null && attempt.response_body !== "" ? (
        <Text
          label={`response body of attempt ${attempt.attempt}`}
          value={attempt.response_body}
        />
      ) : (
        <p class="faint">
          {attempt.status_code ? `HTTP ${attempt.status_code}, no body.` : "No answer."}
        </p>
      )}
    </>
  );
}
