// The address is the state: which page, and how its lists are filtered.

import { useEffect, useState } from "preact/hooks";

export const BASE = "/dashboard";

const watchers = new Set<() => void>();
/** The page that is shown. */
let shown = here();
/** Where the focus was when this page was gone to; null once it was moved here. */
let left: { focus: Element | null } | null = null;

/** Return the path below the dashboard, e.g. "/jobs/123"; "/" is the overview. */
export function here(): string {
  const path = location.pathname;
  return (path.startsWith(BASE) ? path.slice(BASE.length) : path) || "/";
}

export const url = (path: string): string => (path === "/" ? "/" : BASE + path);

export function go(path: string, { replace = false } = {}): void {
  const [target = "", query] = path.split("?");
  const address = url(target) + (query ? `?${query}` : "");
  if (replace) history.replaceState(null, "", address);
  else history.pushState(null, "", address);
  if (!replace) scrollTo(0, 0);
  changed();
}

function changed(): void {
  if (here() !== shown) {
    shown = here();
    left = { focus: document.activeElement };
  }
  for (const tell of watchers) tell();
}

/** Whether another page was gone to, and the focus is still where it was: once. */
export function arrived(): boolean {
  const from = left;
  left = null;
  const now = document.activeElement;
  return from !== null && (now === from.focus || now === document.body);
}

addEventListener("popstate", changed);

// Links of our own change the page without loading it; all others are the browser's.
// They are asked for their attributes: what is drawn (SVG) has links as well.
document.addEventListener("click", (event) => {
  const link = (event.target as Element).closest?.("a[href]");
  if (!link || link.hasAttribute("target") || link.hasAttribute("download")) return;
  const to = new URL(link.getAttribute("href") ?? "", location.href);
  if (
    event.defaultPrevented ||
    event.button !== 0 ||
    event.metaKey ||
    event.ctrlKey ||
    event.shiftKey ||
    event.altKey ||
    to.origin !== location.origin ||
    !(to.pathname === "/" || to.pathname.startsWith(BASE)) ||
    (to.hash && to.pathname === location.pathname)
  ) {
    return;
  }
  event.preventDefault();
  history.pushState(null, "", to.href);
  scrollTo(0, 0);
  changed();
});

function useAddress(): string {
  const [address, look] = useState(() => location.pathname + location.search);
  useEffect(() => {
    const tell = (): void => look(location.pathname + location.search);
    tell();
    watchers.add(tell);
    return () => {
      watchers.delete(tell);
    };
  }, []);
  return address;
}

export function usePath(): string {
  useAddress();
  return here();
}

/** Return the id in the address of a page of one: "123" of "/jobs/123". */
export function useId(): string {
  const spelled = usePath().split("/")[2] ?? "";
  try {
    return decodeURIComponent(spelled);
  } catch {
    // Nobody's id is spelled like that; who is asked for it says so.
    return spelled;
  }
}

/** Return the query, and how to change it; what is empty is taken out. */
export function useParams(): [
  URLSearchParams,
  (change: Record<string, string | null>) => void,
] {
  useAddress();
  const params = new URLSearchParams(location.search);
  return [
    params,
    (change) => {
      const next = new URLSearchParams(location.search);
      for (const [name, value] of Object.entries(change)) {
        if (value) next.set(name, value);
        else next.delete(name);
      }
      const text = next.toString();
      go(here() + (text ? `?${text}` : ""), { replace: true });
    },
  ];
}
