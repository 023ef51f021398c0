// Talking with who looks: short notices, and questions before anything is destroyed.

import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { notices, say } from "./notices";
import { Button, Dialog } from "./parts";

interface Question {
  title: string;
  text: ComponentChildren;
  yes: string;
  danger: boolean;
  answer: (yes: boolean) => void;
}

let question: Question | null = null;
const watchers = new Set<() => void>();
const changed = (): void => {
  for (const tell of watchers) tell();
};

/** Do something at the server; say how it went. Returns whether it did. */
export async function attempt(
  what: () => Promise<unknown>,
  done: string | (() => string),
): Promise<boolean> {
  try {
    await what();
  } catch (error) {
    say((error as Error).message, { bad: true });
    return false;
  }
  say(typeof done === "string" ? done : done());
  return true;
}

/** Ask before something that cannot be taken back. */
export function sure(
  title: string,
  text: ComponentChildren,
  yes: string,
  { danger = true } = {},
): Promise<boolean> {
  return new Promise((resolve) => {
    question = {
      title,
      text,
      yes,
      danger,
      answer: (answer) => {
        question = null;
        changed();
        resolve(answer);
      },
    };
    changed();
  });
}

export function Talk() {
  const [, draw] = useState(0);
  useEffect(() => {
    const tell = (): void => draw((n) => n + 1);
    watchers.add(tell);
    const stop = notices.watch(tell);
    return () => {
      watchers.delete(tell);
      stop();
    };
  }, []);
  const asked = question;
  return (
    <>
      <div class="notices" role="status" aria-live="polite">
        {notices.all.map((notice) => (
          <p key={notice.number} class={`notice ${notice.bad ? "bad" : ""}`}>
            {notice.text}
          </p>
        ))}
      </div>
      {asked && (
        <Dialog title={asked.title} close={() => asked.answer(false)}>
          <div class="dialog-text">{asked.text}</div>
          <div class="dialog-actions">
            <Button onClick={() => asked.answer(false)}>Leave it</Button>
            <Button
              kind={asked.danger ? "danger" : "main"}
              onClick={() => asked.answer(true)}
            >
              {asked.yes}
            </Button>
          </div>
        </Dialog>
      )}
    </>
  );
}
