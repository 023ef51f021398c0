// Asking the API for what a page shows, and asking again when an event says that it
// changed: never by the clock.

import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { live } from "./live";
import type { Frame } from "./stream";

export interface Asked<T> {
  data: T | null;
  error: Error | null;
  /** Ask again. */
  again: () => void;
}

/** However many events come, this is asked at most so often. */
const REST_MS = 1000;

/**
 * Return what *ask* answers; again whenever *key* changes, and (resting in between)
 * whenever *when* says true of an event.  The old answer of the same key stays while a
 * new one is fetched.
 */
export function useAsked<T>(
  key: string,
  ask: () => Promise<T>,
  when?: (frame: Frame) => boolean,
): Asked<T> {
  const [state, set] = useState<{ key: string; data: T | null; error: Error | null }>({
    key,
    data: null,
    error: null,
  });
  const asking = useRef(ask);
  const interested = useRef(when);
  asking.current = ask;
  interested.current = when;
  const run = useRef(0);

  const again = useCallback(() => {
    const mine = ++run.current;
    asking.current().then(
      (data) => mine === run.current && set({ key, data, error: null }),
      (error: Error) =>
        mine === run.current &&
        set((old) => ({ key, data: old.key === key ? old.data : null, error })),
    );
  }, [key]);

  useEffect(() => {
    again();
    let resting: ReturnType<typeof setTimeout> | null = null;
    let wanted = false;
    const rest = (): void => {
      resting = setTimeout(() => {
        resting = null;
        if (!wanted) return;
        wanted = false;
        again();
        rest();
      }, REST_MS);
    };
    const stop = live.listen((frame) => {
      if (frame.type !== "EventsLost" && !interested.current?.(frame)) return;
      wanted = true;
      if (resting === null) {
        wanted = false;
        again();
        rest();
      }
    });
    return () => {
      stop();
      if (resting !== null) clearTimeout(resting);
      run.current += 1;
    };
  }, [again]);

  const current = state.key === key;
  return {
    data: current ? state.data : null,
    error: current ? state.error : null,
    again,
  };
}

/** Draw again whenever the live store has something new. */
export function useLive(): typeof live {
  const [, draw] = useState(0);
  useEffect(() => live.watch(() => draw((n) => n + 1)), []);
  return live;
}

/** Draw again every second: for what says how long ago something was. */
export function useClock(): number {
  const [now, set] = useState(Date.now());
  useEffect(() => {
    const ticking = setInterval(() => set(Date.now()), 1000);
    return () => clearInterval(ticking);
  }, []);
  return now;
}

export const aboutJobs = (frame: Frame): boolean => frame.type.startsWith("Job");
export const aboutJob =
  (id: string) =>
  (frame: Frame): boolean =>
    frame.data.job_id === id;
export const about =
  (...words: string[]) =>
  (frame: Frame): boolean =>
    words.some((word) => frame.type.startsWith(word));
