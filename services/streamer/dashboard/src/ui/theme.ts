// Light, dark, or what the system says; remembered here.

import { useEffect, useState } from "preact/hooks";

export type Theme = "system" | "light" | "dark";

const KEPT = "bellhop.theme";
const watchers = new Set<() => void>();
const system = matchMedia("(prefers-color-scheme: dark)");

let theme: Theme = (localStorage.getItem(KEPT) as Theme | null) ?? "system";

function show(): void {
  const dark = theme === "dark" || (theme === "system" && system.matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  for (const tell of watchers) tell();
}

system.addEventListener("change", show);
show();

export function choose(chosen: Theme): void {
  theme = chosen;
  localStorage.setItem(KEPT, chosen);
  show();
}

/** Return what is chosen, and what is shown, as one word: "system-dark". */
export function useTheme(): string {
  const now = (): string => `${theme}-${document.documentElement.dataset.theme}`;
  const [shown, set] = useState(now);
  useEffect(() => {
    const tell = (): void => set(now());
    watchers.add(tell);
    return () => {
      watchers.delete(tell);
    };
  }, []);
  return shown;
}
