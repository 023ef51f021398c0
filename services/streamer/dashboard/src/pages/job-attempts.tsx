// The attempts of a job: what was sent, what came back, how long it took.

import type { ComponentChildren } from "preact";
import { get } from "../api";
import { duration, moment } from "../format";
import { useAsked } from "../query";
import type { Attempt, Endpoint, Job } from "../shapes";
import { Badge, Empty, Facts, Link, Text } from "../ui/parts";

/** Show attempts, the latest first. */
export function Attempts({ job, attempts }: { job: Job; attempts: Attempt[] }) {
  const id = job.target?.endpoint_id;
  // A key of some queues may not see it: then it is a link without an address.
  const endpoint = useAsked(id ?? "", () =>
    id ? get<Endpoint>(`/endpoints/${id}`).catch(() => null) : Promise.resolve(null),
  ).data;
  if (attempts.length === 0) return <Empty title="No attempt yet." />;
  return (
    <ul class="attempts">
      {attempts.map((attempt, n) => (
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
                <Request job={job} attempt={attempt} endpoint={endpoint} />
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

const SCHEMES: Record<string, string> = { v1: "HMAC-SHA256", v1a: "ed25519" };

/** What a request was signed with, as far as that is kept: the signature is not. */
function signed(
  job: Job,
  attempt: Attempt,
  scheme: string,
): [string, ComponentChildren][] {
  const second = Math.floor(Date.parse(attempt.started_at) / 1000);
  return [
    ["webhook-id", <code key="id">{job.webhook_id ?? job.id}</code>],
    [
      "webhook-timestamp",
      <span key="at">
        about <code>{second}</code>: when it was sent
      </span>,
    ],
    [
      "webhook-signature",
      <span key="by">
        {scheme && (
          <>
            <code>{scheme}</code>, {SCHEMES[scheme] ?? "signed"}{" "}
          </>
        )}
        of <code>id.timestamp.body</code>, by every secret that was good then; it is not
        kept
      </span>,
    ],
  ];
}

function Request({
  job,
  attempt,
  endpoint,
}: {
  job: Job;
  attempt: Attempt;
  endpoint: Endpoint | null;
}) {
  const target = job.target;
  const own = Object.entries(target?.headers ?? {});
  const scheme = target?.endpoint_id ? (endpoint?.signature_scheme ?? "") : "v1";
  return (
    <>
      <Facts
        of={[
          ["Began", moment(attempt.started_at)],
          ["Took", duration(attempt.duration_ms)],
          ["Made by", attempt.worker_id],
          [
            "To",
            target?.endpoint_id ? (
              <Link to={`/endpoints/${target.endpoint_id}`}>
                {endpoint ? `its endpoint, now ${endpoint.url}` : "its endpoint"}
              </Link>
            ) : target?.url ? (
              `${target.method} ${target.url}`
            ) : (
              "a worker, who asked for it"
            ),
          ],
          ...(target === null ? [] : signed(job, attempt, scheme)),
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
