// The door: an API key, and nothing else.

import { useState } from "preact/hooks";
import { session } from "../session";
import { Bell } from "../ui/icons";

export function SignIn() {
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(false);
  return (
    <main class="door">
      <form
        class="door-card"
        onSubmit={(event) => {
          event.preventDefault();
          const field = event.currentTarget.elements.namedItem(
            "key",
          ) as HTMLInputElement;
          setBusy(true);
          setError("");
          session.signIn(field.value.trim()).catch((failure: Error) => {
            setBusy(false);
            setError(failure.message);
            field.select();
          });
        }}
      >
        <Bell size={44} />
        <h1>Bellhop</h1>
        <p class="note">Sign in with an API key of your organization.</p>
        <label class="field">
          <span class="field-name">API key</span>
          <input
            name="key"
            type="password"
            autocomplete="off"
            autocapitalize="off"
            spellcheck={false}
            required
            minLength={10}
            maxLength={200}
            autofocus
            placeholder="sk_live_…"
            aria-invalid={error !== ""}
            aria-describedby="door-error"
          />
        </label>
        <p id="door-error" class="door-error" role="alert">
          {error}
        </p>
        <button type="submit" class="button main" disabled={busy}>
          {busy ? "Signing in …" : "Sign in"}
        </button>
        <p class="hint">
          The key is changed for a session that ends with this tab, and is not kept.{" "}
          <code>make up</code> prints a key.
        </p>
      </form>
    </main>
  );
}
