// To the clipboard, also where the browser gives pages none: over plain http.

import { say } from "./notices";

/** Copy *text*, which stands *beside*; returns whether it is copied. */
export async function copied(text: string, beside: Element | null): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // No clipboard, or it is denied: below is how it was done before there was one.
  }
  if (beside !== null) getSelection()?.selectAllChildren(beside);
  let done = false;
  const put = (event: ClipboardEvent): void => {
    event.clipboardData?.setData("text/plain", text);
    event.preventDefault();
    done = true;
  };
  document.addEventListener("copy", put);
  document.execCommand("copy");
  document.removeEventListener("copy", put);
  if (!done) say("It is selected: copy it with Ctrl+C or ⌘C.");
  return done;
}
