// What happens, as it happens: a tail that can be narrowed and stopped.

import { useState } from "preact/hooks";
import { brief, timeOfDay } from "../format";
import type { Told } from "../live";
import { useLive } from "../query";
import { useParams } from "../router";
import { Badge, Button, Card, Empty, Head, Link } from "../ui/parts";

const SHOWN_MAX = 200;

export function Events() {
  const { recent } = useLive();
  const [params, change] = useParams();
  const [held, hold] = useState<Told[] | null>(null);
  const filter = (params.get("filter") ?? "").toLowerCase();
  const words = filter.split(/\s+/).filter(Boolean);
  const rows = (held ?? recent)
    .filter((told) => {
      const text = `${told.type} ${JSON.stringify(told.data)}`.toLowerCase();
      return words.every((word) => text.includes(word));
    })
    .slice(0, SHOWN_MAX);
  const missed = held === null ? 0 : (recent[0]?.number ?? 0) - (held[0]?.number ?? 0);
  return (
    <>
      <Head
        title="Events"
        note="What happened since this page was opened, newest first."
      >
        <Button
          icon={held === null ? "pause" : "play"}
          aria-pressed={held !== null}
          onClick={() => hold(held === null ? recent : null)}
        >
          {held === null ? "Hold" : `Go on${missed > 0 ? ` (${missed} new)` : ""}`}
        </Button>
      </Head>
      <search class="filters" aria-label="Filter events">
        <div class="filter-row">
          <label class="filter wide">
            <span>Only with these words: a type, queue, id or error</span>
            <input
              type="search"
              value={params.get("filter") ?? ""}
              placeholder="JobFailed mail"
              maxLength={200}
              spellcheck={false}
              autocomplete="off"
              onInput={(event) => change({ filter: event.currentTarget.value })}
            />
          </label>
        </div>
      </search>
      <Card flush>
        {rows.length === 0 ? (
          <Empty
            title={filter ? "No event has these words." : "Nothing has happened yet."}
          >
            <p>Events appear here by themselves.</p>
          </Empty>
        ) : (
          <ol class="tail" aria-label="Events">
            {rows.map((told) => (
              <li key={told.number}>
                <Event told={told} />
              </li>
            ))}
          </ol>
        )}
      </Card>
    </>
  );
}

function Event({ told }: { told: Told }) {
  const { timestamp, job_id, queue_name, new_status, ...rest } = told.data;
  return (
    <details>
      <summary>
        <time>{typeof timestamp === "string" ? timeOfDay(timestamp) : ""}</time>
        <span class="tail-type">{told.type}</span>
        {typeof new_status === "string" && <Badge of={new_status} />}
        <span class="grow clip faint">
          {[queue_name, rest.error, rest.hostname, rest.reason]
            .filter((word) => typeof word === "string" && word !== "")
            .join(" · ")}
        </span>
        {typeof job_id === "string" && (
          <Link to={`/jobs/${job_id}`}>
            <code>{brief(job_id)}</code>
          </Link>
        )}
      </summary>
      <pre tabIndex={0} role="region" aria-label={`Event ${told.number}`}>
        {JSON.stringify({ id: told.id, type: told.type, data: told.data }, null, 2)}
      </pre>
    </details>
  );
}
