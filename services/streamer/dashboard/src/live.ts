// What is going on, as one store fed by one event stream: every page looks at it, and
// none asks again and again.

import { type Frame, follow, type Standing } from "./stream";

/** How long figures of single seconds are kept, for the live plots. */
export const SECONDS = 300;
const RECENT_MAX = 500;

export interface Second {
  at: number;
  created: number;
  completed: number;
  failed: number;
  dead: number;
  durations: number[];
}

export interface Figures {
  pending: number;
  processing: number;
  scheduled: number;
  failed: number;
  completed: number;
}

export interface Told extends Frame {
  number: number;
}

type Listener = (told: Told) => void;

const listeners = new Set<Listener>();
const painters = new Set<() => void>();
let painting = false;
let stop: (() => void) | null = null;
let number = 0;

export const live = {
  standing: "connecting" as Standing,
  seconds: [] as Second[],
  figures: null as Figures | null,
  recent: [] as Told[],

  start(): void {
    stop ??= follow({ path: "", frame: hear, standing: stand });
  },

  end(): void {
    stop?.();
    stop = null;
    live.seconds = [];
    live.recent = [];
    live.figures = null;
  },

  /** Hear every frame. */
  listen(listener: Listener): () => void {
    listeners.add(listener);
    return () => listeners.delete(listener);
  },

  /** Be told, at most four times a second, that something is new. */
  watch(paint: () => void): () => void {
    painters.add(paint);
    return () => painters.delete(paint);
  },
};

function stand(standing: Standing): void {
  live.standing = standing;
  paint();
}

function hear(frame: Frame): void {
  count(frame);
  const told = { ...frame, number: ++number };
  if (frame.type !== "SystemHealth") {
    live.recent = [told, ...live.recent].slice(0, RECENT_MAX);
  } else if (frame.data.jobs) live.figures = frame.data.jobs as Figures;
  for (const tell of listeners) tell(told);
  paint();
}

function count(frame: Frame): void {
  const at = Math.floor(Date.now() / 1000);
  let second = live.seconds.at(-1);
  if (second?.at !== at) {
    second = { at, created: 0, completed: 0, failed: 0, dead: 0, durations: [] };
    live.seconds = [...live.seconds.filter((one) => one.at > at - SECONDS), second];
  }
  if (frame.type === "JobCreated") second.created += 1;
  if (frame.type === "JobFailed") second.failed += 1;
  if (frame.type === "JobStatusChange" && frame.data.new_status === "deadletter") {
    second.dead += 1;
  }
  if (frame.type === "JobCompleted") {
    second.completed += 1;
    if (second.durations.length < 1000) {
      second.durations.push(Number(frame.data.duration_ms) || 0);
    }
  }
}

function paint(): void {
  if (painting) return;
  painting = true;
  setTimeout(() => {
    painting = false;
    for (const tell of painters) tell();
  }, 250);
}
