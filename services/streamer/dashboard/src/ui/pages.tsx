// Lists that go on: the pages that were asked for, and a button for the next one.

import type { ComponentChildren } from "preact";
import { useCallback, useEffect, useState } from "preact/hooks";
import { list, type Page } from "../api";
import { useAsked } from "../query";
import type { Frame } from "../stream";
import { Button, Failure, Loading } from "./parts";

/**
 * Show a list page by page. *path* asks for the first one and ends so that
 * `&cursor=` may follow; the first page follows the events that *when* names.
 */
export function Paged<T>({
  path,
  when,
  children,
  id,
  by = "cursor",
}: {
  path: string;
  when?: (frame: Frame) => boolean;
  children: (rows: T[], again: () => void) => ComponentChildren;
  id: (row: T) => string;
  /** How the list is gone through; those without a cursor count. */
  by?: "cursor" | "offset";
}) {
  const first = useAsked(path, () => list<T>(path), when);
  const [more, setMore] = useState<{ path: string; pages: Page<T>[] }>({
    path,
    pages: [],
  });
  const [error, setError] = useState<Error | null>(null);
  const pages = more.path === path ? more.pages : [];

  useEffect(() => setError(null), [path]);

  const again = useCallback(() => {
    setMore({ path, pages: [] });
    first.again();
  }, [path, first.again]);

  if (first.data === null) {
    return first.error ? (
      <Failure error={first.error} again={first.again} />
    ) : (
      <Loading />
    );
  }
  const all = [first.data, ...pages];
  const seen = new Set<string>();
  const rows = all
    .flatMap((page) => page.rows)
    .filter((row) => !seen.has(id(row)) && seen.add(id(row)));
  const last = all.at(-1) as Page<T>;
  const next = by === "cursor" ? last.next : last.more ? String(rows.length) : null;
  return (
    <>
      {(first.error ?? error) && (
        <Failure error={(first.error ?? error) as Error} again={again} />
      )}
      {children(rows, again)}
      {next !== null && rows.length > 0 && (
        <div class="more">
          <Button
            onClick={() => {
              setError(null);
              const joint = path.includes("?") ? "&" : "?";
              list<T>(`${path}${joint}${by}=${encodeURIComponent(next)}`).then(
                (page) => setMore({ path, pages: [...pages, page] }),
                setError,
              );
            }}
          >
            Show more
          </Button>
        </div>
      )}
    </>
  );
}
