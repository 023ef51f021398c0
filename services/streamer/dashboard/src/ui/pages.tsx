// Lists that go on: the pages that were asked for, and a button for the next one.

import type { ComponentChildren } from "preact";
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { list, type Page } from "../api";
import { useAsked } from "../query";
import type { Frame } from "../stream";
import { Act, Button, Failure, Loading } from "./parts";

/** The rows of more than one page, and where the next one begins. */
interface Kept<T> {
  path: string;
  rows: T[];
  next: string | null;
}

/**
 * Show a list page by page. *path* asks for the first one and ends so that
 * `&cursor=` may follow; the first page follows the events that *when* names.
 *
 * Once there is more than one page they stay as they are, so that nothing is lost
 * between them: rows change in place, and how many are new is said above.
 */
export function Paged<T>({
  path,
  when,
  children,
  id,
  by = "cursor",
  upwards = false,
  run = 0,
}: {
  path: string;
  when?: (frame: Frame) => boolean;
  children: (rows: T[], again: () => void) => ComponentChildren;
  id: (row: T) => string;
  /** How the list is gone through; those without a cursor count. */
  by?: "cursor" | "offset";
  /** The list begins at its end: what was before is asked for from above. */
  upwards?: boolean;
  /** Another number asks for the list anew. */
  run?: number;
}) {
  const first = useAsked(path, () => list<T>(path), when);
  const [more, setMore] = useState<Kept<T> | null>(null);
  const [error, setError] = useState<Error | null>(null);

  useEffect(() => setError(null), [path]);

  const again = useCallback(() => {
    setMore(null);
    first.again();
  }, [first.again]);

  const ran = useRef(run);
  useEffect(() => {
    if (ran.current === run) return;
    ran.current = run;
    again();
  }, [run, again]);

  if (first.data === null) {
    return first.error ? (
      <Failure error={first.error} again={first.again} />
    ) : (
      <Loading />
    );
  }
  const fresh = first.data.rows;
  const kept = more?.path === path ? more : null;
  const told = new Map(fresh.map((row) => [id(row), row]));
  const rows = kept === null ? fresh : kept.rows.map((row) => told.get(id(row)) ?? row);
  const known = new Set(rows.map(id));
  const news = fresh.filter((row) => !known.has(id(row))).length;
  const next = kept === null ? following(first.data, by, fresh.length) : kept.next;

  async function showMore(from: string): Promise<void> {
    setError(null);
    const joint = path.includes("?") ? "&" : "?";
    try {
      const page = await list<T>(`${path}${joint}${by}=${encodeURIComponent(from)}`);
      setMore({
        path,
        rows: [...rows, ...page.rows.filter((row) => !known.has(id(row)))],
        next: following(page, by, Number(from) + page.rows.length),
      });
    } catch (failure) {
      setError(failure as Error);
    }
  }

  const onwards = next !== null && rows.length > 0 && (
    <div class="more">
      <Act run={() => showMore(next)}>{upwards ? "Show earlier" : "Show more"}</Act>
    </div>
  );
  const anew = news > 0 && (
    <div class="more" role="status">
      <Button onClick={again}>
        {news === fresh.length ? `${news} or more` : news} new: show them
      </Button>
    </div>
  );
  return (
    <>
      {(first.error ?? error) && (
        <Failure error={(first.error ?? error) as Error} again={again} />
      )}
      {upwards ? onwards : anew}
      {children(upwards ? [...rows].reverse() : rows, again)}
      {upwards ? anew : onwards}
    </>
  );
}

/** Where the page after *page* begins, when *sofar* rows were told. */
function following<T>(
  page: Page<T>,
  by: "cursor" | "offset",
  sofar: number,
): string | null {
  if (by === "cursor") return page.next;
  return page.more && page.rows.length > 0 ? String(sofar) : null;
}
