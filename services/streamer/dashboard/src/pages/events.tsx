// What happens, as it happens: a tail that can be narrowed and stopped.

import { useEffect, useMemo, useState } from "preact/hooks";
import { brief, timeOfDay } from "../format";
import { spelled } from "../json";
import { live, type Told } from "../live";
import { useLive } from "../query";
import { useParams } from "../router";
import { Badge, Button, Card, Empty, Head, Link } from "../ui/parts";

const SHOWN_MAX = 200;

/** Whether an event has all these words; what is no news has none. */
function fits(told: Told, words: string[]): boolean {
  if (told.type === "SystemHealth") return false;
  const text = `${told.type} ${JSON.stringify(told.data)}`.toLowerCase();
  return words.every((word) => text.includes(word));
}

/** The newest events with all the words of *filter*, however many others come. */
function useTail(filter: string): Told[] {
  const words = filter.split(/\s+/).filter(Boolean);
  const tail = useMemo(() => ({ told: [] as Told[] }), []);
  const begin = (): void => {
    const recent = new Set(live.recent.map((one) => one.number));
    const older = tail.told.filter((one) => !recent.has(one.number));
    tail.told = [...live.recent, ...older]
      .filter((one) => fits(one, words))
      .slice(0, SHOWN_MAX);
  };
  useMemo(begin, [filter]);
  useEffect(() => {
    begin();
    return live.listen((one) => {
      if (fits(one, words)) tail.told = [one, ...tail.told].slice(0, SHOWN_MAX);
    });
  }, [filter]);
  useLive();
  return tail.told;
}

export function Events() {
  const [params, change] = useParams();
  const [held, hold] = useState<Told[] | null>(null);
  const filter = (params.get("filter") ?? "").toLowerCase();
  const tail = useTail(filter);
  const rows = held ?? tail;
  const last = held?.[0]?.number ?? 0;
  const missed = held === null ? 0 : tail.filter((one) => one.number > last).length;
  return (
    <>
      <Head
        title="Events"
        note="What happened since this page was opened, newest first."
      >
        <Button
          icon={held === null ? "pause" : "play"}
          aria-pressed={held !== null}
          onClick={() => hold(held === null ? tail : null)}
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
              onInput={(event) => {
                hold(null);
                change({ filter: event.currentTarget.value });
              }}
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
        {spelled({ id: told.id, type: told.type, data: told.data })}
      </pre>
    </details>
  );
}
