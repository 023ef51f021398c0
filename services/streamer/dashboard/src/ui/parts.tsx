// What all pages are put together from.  Whatever somebody else wrote is a text node.

import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { ago, moment } from "../format";
import { indented, spelled } from "../json";
import { useClock } from "../query";
import { arrived, url } from "../router";
import { copied } from "./clipboard";
import { Icon, type IconName } from "./icons";

export function Head({
  title,
  note,
  of,
  children,
}: {
  title: ComponentChildren;
  /** The list that this is one of: its address, and its name. */
  of?: [string, string];
  note?: ComponentChildren;
  children?: ComponentChildren;
}) {
  const heading = useRef<HTMLHeadingElement>(null);
  // Who reads by ear, or goes by keys, begins at the page's name.
  useEffect(() => {
    if (arrived()) heading.current?.focus({ preventScroll: true });
  }, []);
  return (
    <header class="head">
      <div class="head-words">
        {of && (
          <p class="crumb">
            <Link to={of[0]}>{of[1]}</Link>
          </p>
        )}
        <h1 ref={heading} tabIndex={-1}>
          {title}
        </h1>
        {note && <p class="note">{note}</p>}
      </div>
      {children && <div class="actions">{children}</div>}
    </header>
  );
}

export function Card({
  title,
  aside,
  children,
  flush = false,
  id,
}: {
  title?: ComponentChildren;
  aside?: ComponentChildren;
  children: ComponentChildren;
  flush?: boolean;
  id?: string;
}) {
  return (
    <section class={`card ${flush ? "flush" : ""}`} id={id}>
      {title && (
        <div class="card-head">
          <h2>{title}</h2>
          {aside && <div class="card-aside">{aside}</div>}
        </div>
      )}
      {children}
    </section>
  );
}

const KNOWN = new Set([
  "pending",
  "scheduled",
  "processing",
  "running",
  "completed",
  "deadletter",
  "failed",
  "cancelled",
  "expired",
  "paused",
  "healthy",
  "degraded",
  "offline",
  "draining",
  "active",
  "ended",
  "skipped",
  "closed",
  "open",
  "half_open",
  "disabled",
  "delivered",
  "refused",
  "unanswered",
  "lost",
]);
const SPOKEN: Record<string, string> = {
  deadletter: "dead letter",
  half_open: "on trial",
};

export function Badge({ of, children }: { of: string; children?: ComponentChildren }) {
  return (
    <span class={`badge ${KNOWN.has(of) ? `is-${of}` : ""}`}>
      <span class="dot" aria-hidden="true" />
      {children ?? SPOKEN[of] ?? of}
    </span>
  );
}

export function Button({
  icon,
  kind = "plain",
  children,
  ...rest
}: {
  icon?: IconName;
  kind?: "plain" | "main" | "danger" | "quiet";
  children?: ComponentChildren;
} & JSX.IntrinsicElements["button"]) {
  return (
    <button type="button" {...rest} class={`button ${kind}`}>
      {icon && <Icon name={icon} size={16} />}
      {children}
    </button>
  );
}

/** A button that does something at the server, and says so while it does. */
export function Act({
  run,
  ...rest
}: { run: () => Promise<unknown> } & Parameters<typeof Button>[0]) {
  const [busy, set] = useState(false);
  return (
    <Button
      {...rest}
      disabled={busy || rest.disabled}
      aria-busy={busy}
      onClick={() => {
        set(true);
        void run().finally(() => set(false));
      }}
    />
  );
}

export function Link({
  to,
  children,
  ...rest
}: {
  to: string;
  children: ComponentChildren;
  class?: string;
  "aria-label"?: string;
  "aria-current"?: "page";
}) {
  return (
    <a {...rest} href={url(to)}>
      {children}
    </a>
  );
}

/** When something was, as time that passes; the moment itself on demand. */
export function When({ at }: { at: string | null | undefined }) {
  const now = useClock();
  if (!at) return <span class="faint">–</span>;
  return (
    <time dateTime={at} title={moment(at)}>
      {ago(at, now)}
    </time>
  );
}

export function Empty({
  title,
  children,
}: {
  title: string;
  children?: ComponentChildren;
}) {
  return (
    <div class="empty">
      <p class="empty-title">{title}</p>
      {children && <div>{children}</div>}
    </div>
  );
}

export function Failure({ error, again }: { error: Error; again?: () => void }) {
  return (
    <div class="failure" role="alert">
      <p>{error.message}</p>
      {again && <Button onClick={again}>Try again</Button>}
    </div>
  );
}

/** What is shown while there is nothing to show yet. */
export function Loading() {
  return (
    <div class="loading" role="status">
      <span class="visually-hidden">Loading</span>
      <span class="bar" />
      <span class="bar" />
      <span class="bar" />
    </div>
  );
}

export function Shown<T>({
  asked,
  children,
}: {
  asked: { data: T | null; error: Error | null; again: () => void };
  children: (data: T) => ComponentChildren;
}) {
  if (asked.data === null) {
    return asked.error ? (
      <Failure error={asked.error} again={asked.again} />
    ) : (
      <Loading />
    );
  }
  return (
    <>
      {asked.error && <Failure error={asked.error} again={asked.again} />}
      {children(asked.data)}
    </>
  );
}

export interface Column<T> {
  name: ComponentChildren;
  cell: (row: T) => ComponentChildren;
  kind?: "number" | "wide" | "select" | "tail";
}

/** A table; on a phone each row is a card, with the names of its columns. */
export function Table<T>({
  label,
  columns,
  rows,
  id,
}: {
  label: string;
  columns: Column<T>[];
  rows: T[];
  id: (row: T) => string;
}) {
  return (
    <div class="table-frame">
      <table class="table">
        <caption class="visually-hidden">{label}</caption>
        <thead>
          <tr>
            {columns.map((column, n) => (
              <th key={n} scope="col" class={column.kind ?? ""}>
                {column.name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={id(row)}>
              {columns.map((column, n) => (
                <td
                  key={n}
                  class={column.kind ?? ""}
                  data-name={typeof column.name === "string" ? column.name : ""}
                >
                  <div>{column.cell(row)}</div>
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

export function Copy({ text, label }: { text: string; label: string }) {
  const [done, set] = useState(false);
  useEffect(() => {
    if (!done) return;
    const timer = setTimeout(() => set(false), 1500);
    return () => clearTimeout(timer);
  }, [done]);
  return (
    <button
      type="button"
      class="copy"
      aria-label={done ? "Copied" : label}
      title={done ? "Copied" : label}
      onClick={(event) => {
        const beside = event.currentTarget.parentElement;
        void copied(text, beside?.querySelector("pre, code") ?? null).then(set);
      }}
    >
      <Icon name={done ? "check" : "copy"} size={15} />
    </button>
  );
}

/** Text of somebody else's, as it is; JSON is indented when it is JSON. */
export function Text({ label, value }: { label: string; value: unknown }) {
  const text = typeof value === "string" ? indented(value) : spelled(value);
  return (
    <div class="text">
      <Copy text={text} label={`Copy ${label}`} />
      <pre tabIndex={0} role="region" aria-label={label}>
        {text}
      </pre>
    </div>
  );
}

/** Names with their values. */
export function Facts({ of }: { of: [string, ComponentChildren][] }) {
  return (
    <dl class="facts">
      {of.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value ?? <span class="faint">–</span>}</dd>
        </div>
      ))}
    </dl>
  );
}

export function Dialog({
  title,
  close,
  children,
}: {
  title: string;
  close: () => void;
  children: ComponentChildren;
}) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const shown = dialog.current;
    shown?.showModal();
    return () => shown?.close();
  }, []);
  return (
    <dialog
      ref={dialog}
      class="dialog"
      aria-label={title}
      onCancel={(event) => {
        event.preventDefault();
        close();
      }}
    >
      <div class="dialog-head">
        <h2>{title}</h2>
        <button type="button" class="copy" aria-label="Close" onClick={close}>
          <Icon name="close" />
        </button>
      </div>
      {children}
    </dialog>
  );
}
