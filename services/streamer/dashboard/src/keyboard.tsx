// What the keyboard does: go somewhere with two keys, find, ask for help; and j and k
// walk through the rows of a list.  Who speaks to the machine may want single keys to
// do nothing (WCAG 2.1.4): that can be chosen, and is remembered here.

import { useEffect, useState } from "preact/hooks";
import { PAGES } from "./pages";
import { go } from "./router";
import { Dialog } from "./ui/parts";

const PAUSE_MS_MAX = 1200;
const KEPT = "bellhop.shortcuts";
const ROWS = [".table tbody tr", ".rows > li", ".cards > li", ".attempts > li"]
  .concat(".tail > li", ".moment")
  .map((rows) => `main ${rows}`)
  .join();
/** What Enter opens of a row; a row without is walked to itself. */
const OPENS = "a[href], summary, button.row-link";

const areOn = (): boolean => localStorage.getItem(KEPT) !== "off";

function isTyping(target: EventTarget | null): boolean {
  return (
    target instanceof HTMLElement &&
    (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName))
  );
}

/** Focus the next row, or the one before. */
function walk(step: 1 | -1): void {
  const rows = [...document.querySelectorAll<HTMLElement>(ROWS)];
  const at = rows.findIndex((row) => row.contains(document.activeElement));
  const next = rows[at < 0 ? (step > 0 ? 0 : rows.length - 1) : at + step];
  if (next === undefined) return;
  const opens = next.querySelector<HTMLElement>(OPENS);
  if (opens === null) next.tabIndex = -1;
  (opens ?? next).focus();
}

export function useShortcuts() {
  const [shown, set] = useState(false);
  const [on, turn] = useState(areOn);

  useEffect(() => {
    let going = 0;
    const press = (event: KeyboardEvent): void => {
      if (event.metaKey || event.ctrlKey || event.altKey) return;
      if (event.key === "Escape" && isTyping(event.target)) {
        (event.target as HTMLElement).blur();
      }
      if (!on || isTyping(event.target)) return;
      if (document.querySelector("dialog[open]")) return;
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
  }, [on]);

  return {
    show: () => set(true),
    dialog: shown && (
      <Dialog title="Keyboard shortcuts" close={() => set(false)}>
        <label class="switch">
          <input
            type="checkbox"
            checked={on}
            onChange={(event) => {
              const { checked } = event.currentTarget;
              localStorage.setItem(KEPT, checked ? "on" : "off");
              turn(checked);
            }}
          />
          Single keys do something
        </label>
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
