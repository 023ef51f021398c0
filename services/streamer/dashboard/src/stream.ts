// Server-sent events over fetch: the credential goes in a header, never in an address,
// and a stream that breaks goes on where it stopped (Last-Event-ID).

import { parse } from "./json";
import { session } from "./session";

export interface Frame {
  id: string | null;
  type: string;
  data: Record<string, unknown>;
}

export type Standing = "connecting" | "live" | "away";

const PAUSE_MS_MIN = 500;
const PAUSE_MS_MAX = 15_000;
/** A quiet stream has a comment every 15 s. */
const SILENCE_MS_MAX = 60_000;
/** Nobody looks: over HTTP/1.1 a browser has six connections for all of its tabs. */
const HIDDEN_MS_MAX = 60_000;

interface Ear {
  path: string;
  frame(frame: Frame): void;
  standing?(standing: Standing): void;
}

/**
 * Follow a stream until the returned function is called, or nobody is signed in.  A page
 * that is hidden for long lets go of it, and goes on where it was when it is seen again.
 */
export function follow(ear: Ear): () => void {
  const ending = new AbortController();
  void run(ear, ending.signal);
  return () => ending.abort();
}

async function run(ear: Ear, ending: AbortSignal): Promise<void> {
  let last: string | null = null;
  let pause = PAUSE_MS_MIN;
  for (;;) {
    await seen(ending);
    if (ending.aborted) return;
    ear.standing?.("connecting");
    const attempt = new AbortController();
    const stop = (): void => attempt.abort();
    const unwatch = whenHidden(stop);
    ending.addEventListener("abort", stop, { once: true });
    try {
      const answer: Response = await fetch(`/api/v1/events${ear.path}`, {
        cache: "no-store",
        headers: {
          Accept: "text/event-stream",
          Authorization: `Bearer ${session.token ?? ""}`,
          ...(last === null ? {} : { "Last-Event-ID": last }),
        },
        signal: attempt.signal,
      });
      // 204: a job that has ended, and of which all was seen.
      if (answer.status === 204) return;
      if (answer.status === 401 && !(await session.refresh())) {
        // Without a new token it is asked again below, unless that was a refusal.
        if (session.token === null) return;
      }
      if (answer.ok && answer.body !== null) {
        ear.standing?.("live");
        for await (const frame of frames(answer.body, attempt)) {
          pause = PAUSE_MS_MIN;
          if (frame.id !== null) last = frame.id;
          if (frame.type !== "") ear.frame(frame);
        }
      }
    } catch {
      // It broke; below it is opened again.
    } finally {
      ending.removeEventListener("abort", stop);
      unwatch();
    }
    if (ending.aborted) return;
    ear.standing?.("away");
    await new Promise((resume) =>
      setTimeout(resume, pause * (0.75 + Math.random() / 2)),
    );
    pause = Math.min(pause * 2, PAUSE_MS_MAX);
  }
}

/** Call *stop* once the page was hidden for long; returns how to leave that. */
function whenHidden(stop: () => void): () => void {
  let hidden: ReturnType<typeof setTimeout> | undefined;
  const look = (): void => {
    clearTimeout(hidden);
    if (document.hidden) hidden = setTimeout(stop, HIDDEN_MS_MAX);
  };
  look();
  document.addEventListener("visibilitychange", look);
  return () => {
    clearTimeout(hidden);
    document.removeEventListener("visibilitychange", look);
  };
}

/** Wait until somebody sees the page, or *ending* says that it is over. */
function seen(ending: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const look = (): void => {
      if (document.hidden && !ending.aborted) return;
      document.removeEventListener("visibilitychange", look);
      ending.removeEventListener("abort", look);
      resolve();
    };
    document.addEventListener("visibilitychange", look);
    ending.addEventListener("abort", look);
    look();
  });
}

/** Read frames (WHATWG HTML, 9.2.6); one without data only tells how far it is. */
async function* frames(
  body: ReadableStream<Uint8Array>,
  attempt: AbortController,
): AsyncGenerator<Frame> {
  const reader = body
    .pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>)
    .getReader();
  let silence = setTimeout(() => attempt.abort(), SILENCE_MS_MAX);
  let text = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      clearTimeout(silence);
      silence = setTimeout(() => attempt.abort(), SILENCE_MS_MAX);
      text += value;
      let end = text.indexOf("\n\n");
      while (end >= 0) {
        yield parsed(text.slice(0, end));
        text = text.slice(end + 2);
        end = text.indexOf("\n\n");
      }
    }
  } finally {
    clearTimeout(silence);
    await reader.cancel().catch(() => undefined);
  }
}

function parsed(block: string): Frame {
  let id: string | null = null;
  let data = "";
  for (const line of block.split("\n")) {
    if (line.startsWith("id:")) id = line.slice(3).trim();
    if (line.startsWith("data:")) data += line.slice(5).trim();
  }
  if (data === "") return { id, type: "", data: {} };
  const said = parse(data) as { type: string; data: Record<string, unknown> };
  return { id, type: said.type, data: said.data };
}
