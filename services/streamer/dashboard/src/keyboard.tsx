// What the keyboard does: go somewhere with two keys, find, ask for help; and j and k
// walk through the rows of a list.

import { useEffect, useState } from "preact/hooks";
import { PAGES } from "./pages";
import { go } from "./router";
import { Dialog } from "./ui/parts";

const PAUSE_MS_MAX = 1200;

function isTyping(target: EventTarget | null): boolean {
  return (
    target instanceof HTMLElement &&
    (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName))
  );
}

/** Focus the first link of the next row, or of the one before. */
function walk(step: 1 | -1): void {
  const rows = [...document.querySelectorAll<HTMLElement>("main tbody tr")];
  const at = rows.findIndex((row) => row.contains(document.activeElement));
  const next = rows[at < 0 ? (step > 0 ? 0 : rows.length - 1) : at + step];
  next?.querySelector<HTMLElement>("a")?.focus();
}

export function useShortcuts() {
  const [shown, set] = useState(false);

  useEffect(() => {
    let going = 0;
    const press = (event: KeyboardEvent): void => {
      if (event.metaKey || event.ctrlKey || event.altKey) return;
      if (event.key === "Escape" && isTyping(event.target)) {
        (event.target as HTMLElement).blur();
      }
      if (isTyping(event.target) || document.querySelector("dialog[open]")) return;
      const page = PAGES.find((one) => one.key === event.key);
      if (page && Date.now() - going < PAUSE_MS_MAX) {
        going = 0;
        event.preventDefault();
        go(page.path);
        return;
      }
      going = 0;
      switch (event.key) {
        case "g":
          going = Date.now();
          break;
        case "/":
          event.preventDefault();
          document.getElementById("find")?.focus();
          break;
        case "?":
          set(true);
          break;
        case "j":
          walk(1);
          break;
        case "k":
          walk(-1);
          break;
      }
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, []);

  return {
    show: () => set(true),
    dialog: shown && (
      <Dialog title="Keyboard shortcuts" close={() => set(false)}>
        <dl class="keys">
          {PAGES.map((page) => (
            <div key={page.key}>
              <dt>
                <kbd>g</kbd> <kbd>{page.key}</kbd>
              </dt>
              <dd>{page.title}</dd>
            </div>
          ))}
          <div>
            <dt>
              <kbd>/</kbd>
            </dt>
            <dd>Find a job</dd>
          </div>
          <div>
            <dt>
              <kbd>j</kbd> <kbd>k</kbd>
            </dt>
            <dd>Next row, row before; Enter opens it</dd>
          </div>
          <div>
            <dt>
              <kbd>Esc</kbd>
            </dt>
            <dd>Leave a field, close what is open</dd>
          </div>
          <div>
            <dt>
              <kbd>?</kbd>
            </dt>
            <dd>This</dd>
          </div>
        </dl>
      </Dialog>
    ),
  };
}
