// Asking for something in a dialog, sending it, and showing what is shown only once.

import { type ComponentChildren, cloneElement, type VNode } from "preact";
import { useId, useState } from "preact/hooks";
import { say } from "./notices";
import { Button, Copy, Dialog } from "./parts";

/** One control with its name, and what there is to know about it. */
export function Field({
  label,
  hint,
  children,
}: {
  label: string;
  hint?: string;
  children: VNode<{ id?: string; "aria-describedby"?: string }>;
}) {
  const id = useId();
  return (
    <div class="field">
      <label class="field-name" for={id}>
        {label}
      </label>
      {cloneElement(children, {
        id,
        ...(hint && { "aria-describedby": `${id}-hint` }),
      })}
      {hint && (
        <span class="hint" id={`${id}-hint`}>
          {hint}
        </span>
      )}
    </div>
  );
}

/** A number with its name: what it is at first is its `defaultValue`. */
export function NumberField({
  label,
  hint,
  ...input
}: {
  label: string;
  hint?: string;
  name: string;
  min: number;
  max?: number;
  step?: "any";
  defaultValue?: number | "";
  required?: boolean;
}) {
  return (
    <Field label={label} {...(hint && { hint })}>
      <input type="number" {...input} />
    </Field>
  );
}

/** What a field of a form holds, as a number; null when it is empty. */
export function numberOf(given: FormData, name: string): number | null {
  const text = String(given.get(name) ?? "").trim();
  return text === "" ? null : Number(text);
}

/**
 * A dialog with fields.  When *send* went well it closes, unless there is something to
 * be shown of the answer.
 *
 * What a field holds is its own: it is given a `defaultValue`, for a `value` would be
 * written over what is typed whenever an event draws the page anew.
 */
export function Form<R>({
  title,
  yes,
  done,
  send,
  shown,
  once = false,
  close,
  children,
}: {
  title: string;
  /** What its button says. */
  yes: string;
  /** What is said when it went well. */
  done?: string;
  send: (given: FormData) => Promise<R>;
  /** What is shown of the answer, under the fields. */
  shown?: (answer: R) => ComponentChildren;
  /** Show it instead of the fields: it is there once. */
  once?: boolean;
  close: () => void;
  children: ComponentChildren;
}) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState("");
  const [said, setSaid] = useState<{ answer: R } | null>(null);
  const heard = shown && said && shown(said.answer);
  if (once && heard) {
    return (
      <Dialog title={title} close={close}>
        {heard}
        <div class="dialog-actions">
          <Button kind="main" onClick={close}>
            I have it
          </Button>
        </div>
      </Dialog>
    );
  }
  return (
    <Dialog title={title} close={close}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          setBusy(true);
          setError("");
          setSaid(null);
          send(new FormData(event.currentTarget))
            .then(
              (answer) => {
                if (done) say(done);
                if (shown) setSaid({ answer });
                else close();
              },
              (failure: Error) => setError(failure.message),
            )
            .finally(() => setBusy(false));
        }}
      >
        {children}
        {heard}
        {error && (
          <p class="failure" role="alert">
            {error}
          </p>
        )}
        <div class="dialog-actions">
          <Button onClick={close}>{shown && !once ? "Close" : "Leave it"}</Button>
          <Button kind="main" type="submit" disabled={busy} aria-busy={busy}>
            {yes}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}

/** A secret that nobody can ask for again. */
export function Secret({
  text,
  secret,
  name,
  children,
}: {
  text: string;
  secret: string;
  /** What it is, for the button that copies it. */
  name: string;
  children?: ComponentChildren;
}) {
  return (
    <>
      <p class="dialog-text">{text}</p>
      <p class="secret">
        <code>{secret}</code>
        <Copy text={secret} label={`Copy the ${name}`} />
      </p>
      {children}
    </>
  );
}
