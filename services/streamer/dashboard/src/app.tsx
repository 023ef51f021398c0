// The frame around every page: where one can go, whether it is live, who is signed in.

import { Component, type ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { get } from "./api";
import { useShortcuts } from "./keyboard";
import { live } from "./live";
import { PAGES, pageOf } from "./pages";
import { SignIn } from "./pages/sign-in";
import { useAsked, useLive } from "./query";
import { go, usePath } from "./router";
import { type Me, session } from "./session";
import { Bell, Icon } from "./ui/icons";
import { Failure, Head, Link } from "./ui/parts";
import { Talk } from "./ui/talk";
import { choose, useTheme } from "./ui/theme";

export function App() {
  const [signedIn, set] = useState(session.token !== null);
  useEffect(
    () =>
      session.watch(() => {
        if (session.token === null) live.end();
        set(session.token !== null);
      }),
    [],
  );
  return (
    <>
      {signedIn ? <Frame /> : <SignIn />}
      <Talk />
    </>
  );
}

function Frame() {
  const path = usePath();
  const me = useAsked("me", () => get<Me>("/auth/me"));
  const [open, setOpen] = useState(false);
  const help = useShortcuts();
  const found = pageOf(path);

  useEffect(() => live.start(), []);
  useEffect(() => {
    setOpen(false);
    document.title = `${found.title} · Bellhop`;
  }, [path, found.title]);

  return (
    <div class={`frame ${open ? "is-open" : ""}`}>
      <a class="skip" href="#page">
        Skip to the page
      </a>
      <header class="top">
        <button
          type="button"
          class="copy menu"
          aria-label="Menu"
          aria-expanded={open}
          aria-controls="nav"
          onClick={() => setOpen(!open)}
        >
          <Icon name={open ? "close" : "menu"} />
        </button>
        <Link to="/" class="brand" aria-label="Bellhop: overview">
          <Bell size={26} />
          <span>Bellhop</span>
        </Link>
        <Find />
        <Standing />
        <ThemeSwitch />
        <button
          type="button"
          class="copy help"
          aria-label="Keyboard shortcuts"
          title="Keyboard shortcuts (?)"
          onClick={help.show}
        >
          <Icon name="help" />
        </button>
      </header>
      <nav class="side" id="nav" aria-label="Pages">
        <ul>
          {PAGES.map((page) => (
            <li key={page.path}>
              <Link
                to={page.path}
                {...(found.nav === page.path ? { "aria-current": "page" } : {})}
              >
                <Icon name={page.icon} />
                <span>{page.title}</span>
                <kbd aria-hidden="true">g {page.key}</kbd>
              </Link>
            </li>
          ))}
        </ul>
        <div class="who">
          <p class="who-name">{me.data?.organization?.name ?? "…"}</p>
          <p class="faint">
            {me.data?.queues.length
              ? `Key of ${me.data.queues.join(", ")}`
              : (me.data?.organization?.plan_tier ?? "")}
          </p>
          <button type="button" class="button quiet" onClick={() => session.signOut()}>
            <Icon name="out" size={16} />
            Sign out
          </button>
        </div>
      </nav>
      <main id="page" tabIndex={-1}>
        <Guarded key={path}>
          <found.show />
        </Guarded>
      </main>
      {help.dialog}
    </div>
  );
}

/** A page that fails says so, and the frame around it goes on. */
class Guarded extends Component<{ children: ComponentChildren }> {
  override state: { error: Error | null } = { error: null };

  static override getDerivedStateFromError(error: Error) {
    return { error };
  }

  override componentDidCatch(error: Error): void {
    console.error(error);
  }

  override render() {
    const { error } = this.state;
    if (error === null) return this.props.children;
    return (
      <>
        <Head title="This page failed" />
        <Failure error={error} again={() => this.setState({ error: null })} />
      </>
    );
  }
}

/** Go to a job by its id, or search for one. */
function Find() {
  return (
    <search class="find">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          const field = event.currentTarget.elements.namedItem("q") as HTMLInputElement;
          const text = field.value.trim();
          if (text === "") return;
          const isId = /^[0-9a-f]{8}-[0-9a-f-]{27}$/i.test(text);
          go(isId ? `/jobs/${text}` : `/jobs?q=${encodeURIComponent(text)}`);
          field.value = "";
          field.blur();
        }}
      >
        <Icon name="search" size={16} />
        <input
          id="find"
          name="q"
          type="search"
          placeholder="Find a job: id, queue or type"
          aria-label="Find a job by id, queue or type"
          autocomplete="off"
          spellcheck={false}
        />
        <kbd aria-hidden="true">/</kbd>
      </form>
    </search>
  );
}

const SPOKEN = {
  live: "Live",
  connecting: "Connecting",
  away: "Reconnecting",
} as const;

function Standing() {
  const { standing } = useLive();
  return (
    <span class={`standing is-${standing}`} role="status">
      <span class="dot" aria-hidden="true" />
      {SPOKEN[standing]}
    </span>
  );
}

const NEXT = { system: "light", light: "dark", dark: "system" } as const;

function ThemeSwitch() {
  const chosen = useTheme().split("-")[0] as keyof typeof NEXT;
  return (
    <button
      type="button"
      class="copy"
      aria-label={`Colours: ${chosen}. Change to ${NEXT[chosen]}`}
      title={`Colours: ${chosen}`}
      onClick={() => choose(NEXT[chosen])}
    >
      <Icon name={chosen} />
    </button>
  );
}
