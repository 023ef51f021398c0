// Who is signed in.
//
// An API key is changed for an access token, and forgotten: what a page keeps can be
// read by whatever runs in it, and a token ends by itself, and with the sign-out.  It
// is kept in sessionStorage: it outlives a reload and ends with the tab, and no other
// tab or cookie carries it anywhere.

export interface Tokens {
  access_token: string;
  refresh_token: string;
}

export interface Me {
  organization_id: string;
  api_key_id: string;
  queues: string[];
  organization: { id: string; name: string; slug: string; plan_tier: string } | null;
}

const KEPT = "bellhop.session";
/** What says of a refresh token that it is none, or none any more. */
const REFUSED: ReadonlySet<number> = new Set([400, 401, 403]);

let tokens: Tokens | null = read();
const watchers = new Set<() => void>();

function read(): Tokens | null {
  const kept = sessionStorage.getItem(KEPT);
  return kept === null ? null : (JSON.parse(kept) as Tokens);
}

function keep(found: Tokens | null): void {
  tokens = found;
  if (found === null) sessionStorage.removeItem(KEPT);
  else sessionStorage.setItem(KEPT, JSON.stringify(found));
  for (const tell of watchers) tell();
}

export const session = {
  get token(): string | null {
    return tokens?.access_token ?? null;
  },

  watch(tell: () => void): () => void {
    watchers.add(tell);
    return () => watchers.delete(tell);
  },

  async signIn(apiKey: string): Promise<void> {
    const answer = await fetch("/api/v1/auth/login", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ api_key: apiKey }),
    });
    const said = await answer.json().catch(() => ({}));
    if (!answer.ok) {
      throw new Error(
        answer.status === 401 || answer.status === 400 || answer.status === 422
          ? "No such key. An API key begins with sk_ or sp_; `make up` prints one."
          : (said.message ?? `Signing in failed (${answer.status}). Try again.`),
      );
    }
    keep(said as Tokens);
  },

  /** Change a token that has ended for a new one; whether there is one now. */
  async refresh(): Promise<boolean> {
    refreshing ??= renew().finally(() => {
      refreshing = null;
    });
    return refreshing;
  },

  async signOut(): Promise<void> {
    const old = tokens;
    keep(null);
    if (old === null) return;
    await fetch("/api/v1/auth/logout", {
      method: "POST",
      headers: {
        Authorization: `Bearer ${old.access_token}`,
        "Content-Type": "application/json",
      },
      body: JSON.stringify({ refresh_token: old.refresh_token }),
    }).catch(() => undefined);
  },
};

let refreshing: Promise<boolean> | null = null;

async function renew(): Promise<boolean> {
  if (tokens === null) return false;
  const answer = await fetch("/api/v1/auth/refresh", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ refresh_token: tokens.refresh_token }),
  });
  if (answer.ok && tokens !== null) {
    const { access_token } = (await answer.json()) as Tokens;
    keep({ ...tokens, access_token });
    return true;
  }
  // Only a refusal ends the session: a server that is away, or busy, does not.
  if (REFUSED.has(answer.status)) keep(null);
  return false;
}
