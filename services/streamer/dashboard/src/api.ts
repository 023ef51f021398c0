// The API, as the pages ask it: JSON in, JSON out, and errors that say what to do.

import { parse } from "./json";
import { session } from "./session";

export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

export interface Page<T> {
  rows: T[];
  /** What to ask on with; null on the last page. */
  next: string | null;
  more: boolean;
}

export type Query = Record<string, string | number | boolean | null | undefined>;

/** Spell a query; what is absent or empty is left out. */
export function spell(query: Query): string {
  const parts = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== "") {
      parts.set(name, String(value));
    }
  }
  const text = parts.toString();
  return text ? `?${text}` : "";
}

/** A part of a path that somebody else chose. */
export const part = (text: string): string => encodeURIComponent(text);

async function ask(method: string, path: string, body?: unknown): Promise<Response> {
  const request = (): Promise<Response> =>
    fetch(`/api/v1${path}`, {
      method,
      cache: "no-store",
      headers: {
        Authorization: `Bearer ${session.token ?? ""}`,
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  let answer: Response;
  try {
    answer = await request();
    if (answer.status === 401 && (await session.refresh())) answer = await request();
  } catch {
    throw new Refused(0, "UNREACHABLE", "Bellhop cannot be reached. Is it running?");
  }
  if (!answer.ok) {
    const said = await answer.json().catch(() => ({}));
    throw new Refused(
      answer.status,
      said.code ?? "ERROR",
      said.message ?? `${answer.status} ${answer.statusText}`,
    );
  }
  return answer;
}

async function json<T>(method: string, path: string, body?: unknown): Promise<T> {
  const answer = await ask(method, path, body);
  const text = await answer.text();
  return (text === "" ? null : parse(text)) as T;
}

export const get = <T>(path: string): Promise<T> => json<T>("GET", path);
export const post = <T>(path: string, body: unknown = {}): Promise<T> =>
  json<T>("POST", path, body);
export const put = <T>(path: string, body: unknown): Promise<T> =>
  json<T>("PUT", path, body);
export const patch = <T>(path: string, body: unknown): Promise<T> =>
  json<T>("PATCH", path, body);
export const remove = (path: string): Promise<null> => json<null>("DELETE", path);

/** Ask for a page of a list, and how to go on. */
export async function list<T>(path: string): Promise<Page<T>> {
  const answer = await ask("GET", path);
  return {
    rows: parse(await answer.text()) as T[],
    next: answer.headers.get("X-Next-Cursor"),
    more: answer.headers.get("X-Has-More") === "true",
  };
}
