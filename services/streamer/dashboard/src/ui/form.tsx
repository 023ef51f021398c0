// Asking for something in a dialog, sending it, and showing what is shown only once.

import { type ComponentChildren, cloneElement, type VNode } from "preact";
import { useId, useState } from "preact/hooks";
import { Button, Copy, Dialog } from "./parts";
import { say } from "./notices";

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

/** A dialog with fields.  It closes when *send* went well, unless it is to *stay*. */
export function Form({
  title,
  yes,
  done,
  send,
  close,
  stay = false,
  children,
}: {
  title: string;
  /** What its button says. */
  yes: string;
  /** What is said when it went well. */
  done?: string;
  send: (given: FormData) => Promise<unknown>;
  close: () => void;
  stay?: boolean;
  children: ComponentChildren;
}) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState("");
  return (
    <Dialog title={title} close={close}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          setBusy(true);
          setError("");
          send(new FormData(event.currentTarget))
            .then(
              () => {
                if (done) say(done);
                if (!stay) close();
              },
              (failure: Error) => setError(failure.message),
            )
            .finally(() => setBusy(false));
        }}
      >
        {children}
        {error && (
          <p class="failure" role="alert">
            {error}
          </p>
        )}
        <div class="dialog-actions">
          <Button onClick={close}>{stay ? "Close" : "Leave it"}</Button>
          <Button kind="main" type="submit" disabled={busy} aria-busy={busy}>
            {yes}
          </Button>
        </div>
      </form>
    </Dialog>
  );
}

/** A secret that nobody can ask for again. */
export function ShownOnce({
  title,
  text,
  secret,
  name,
  close,
  children,
}: {
  title: string;
  text: string;
  secret: string;
  /** What it is, for the button that copies it. */
  name: string;
  close: () => void;
  children?: ComponentChildren;
}) {
  return (
    <Dialog title={title} close={close}>
      <p class="dialog-text">{text}</p>
      <p class="secret">
        <code>{secret}</code>
        <Copy text={secret} label={`Copy the ${name}`} />
      </p>
      {children}
      <div class="dialog-actions">
        <Button kind="main" onClick={close}>
          I have it
        </Button>
      </div>
    </Dialog>
  );
}
