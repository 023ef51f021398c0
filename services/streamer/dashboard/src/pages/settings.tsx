// Keys of the organization, and how much of its plan is used.

import { useState } from "preact/hooks";
import { get, post, remove } from "../api";
import { count, percent } from "../format";
import { useAsked } from "../query";
import type { Me } from "../session";
import type { Key, NewKey, Usage } from "../shapes";
import { Field, Form, ShownOnce } from "../ui/form";
import { Paged } from "../ui/pages";
import {
  Act,
  Badge,
  Button,
  Card,
  Empty,
  Facts,
  Head,
  Shown,
  Table,
  When,
} from "../ui/parts";
import { attempt, sure } from "../ui/talk";

export function Settings() {
  const me = useAsked("settings-me", () => get<Me>("/auth/me"));
  const usage = useAsked("usage", () => get<Usage>("/organizations/usage"));
  const [making, make] = useState(false);
  return (
    <>
      <Head title="Settings" note={me.data?.organization?.name}>
        <Button kind="main" onClick={() => make(true)}>
          New key
        </Button>
      </Head>
      <Paged<Key> path="/api-keys?limit=50" by="offset" id={(key) => key.id}>
        {(rows, again) => (
          <Card title="API keys" flush>
            {rows.length === 0 ? (
              <Empty title="No keys." />
            ) : (
              <Table
                label="API keys"
                rows={rows}
                id={(key) => key.id}
                columns={[
                  {
                    name: "Key",
                    kind: "wide",
                    cell: (key) => (
                      <span class="strong">
                        {key.name}
                        {key.id === me.data?.api_key_id && (
                          <span class="sub">you are signed in with it</span>
                        )}
                      </span>
                    ),
                  },
                  {
                    name: "State",
                    cell: (key) => <Badge of={key.is_active ? "active" : "disabled"} />,
                  },
                  {
                    name: "Queues",
                    cell: (key) =>
                      key.queues.length === 0 ? "all" : key.queues.join(", "),
                  },
                  { name: "Last used", cell: (key) => <When at={key.last_used} /> },
                  { name: "Expires", cell: (key) => <When at={key.expires_at} /> },
                  {
                    name: "",
                    kind: "tail",
                    cell: (key) => (
                      <Act
                        kind="quiet"
                        aria-label={`Revoke ${key.name}`}
                        run={async () => {
                          const own = key.id === me.data?.api_key_id;
                          const yes = await sure(
                            `Revoke ${key.name}?`,
                            own
                              ? "It is the key that you are signed in with: you are signed out, too."
                              : "Whoever uses it is refused from now on.",
                            "Revoke it",
                          );
                          const run = () => remove(`/api-keys/${key.id}`);
                          if (yes && (await attempt(run, "The key is revoked")))
                            again();
                        }}
                      >
                        Revoke
                      </Act>
                    ),
                  },
                ]}
              />
            )}
            {making && <Making close={() => make(false)} done={again} />}
          </Card>
        )}
      </Paged>
      <Card title="How much is used">
        <Shown asked={usage}>
          {(data) => (
            <Facts
              of={[
                ["Plan", data.plan_display_name],
                ...Object.entries(data.usage).map(
                  ([name, item]) =>
                    [
                      name.replaceAll("_", " "),
                      item.limit === null
                        ? `${count(item.current)}, no limit`
                        : `${count(item.current)} of ${count(item.limit)} (${percent(
                            (item.percentage ?? 0) / 100,
                          )})`,
                    ] as [string, string],
                ),
              ]}
            />
          )}
        </Shown>
      </Card>
    </>
  );
}

function Making({ close, done }: { close: () => void; done: () => void }) {
  const [made, setMade] = useState<NewKey | null>(null);
  if (made !== null) {
    return (
      <ShownOnce
        title="New key"
        text="This is the key. It is shown once: keep it now."
        secret={made.key}
        name="key"
        close={close}
      />
    );
  }
  return (
    <Form
      title="New key"
      yes="Make it"
      stay
      close={close}
      send={async (given) => {
        const queues = String(given.get("queues"))
          .split(/[\s,]+/)
          .filter(Boolean);
        setMade(
          await post<NewKey>("/api-keys", {
            name: String(given.get("name")),
            ...(queues.length > 0 ? { queues } : {}),
          }),
        );
        done();
      }}
    >
      <Field label="Name">
        <input name="name" required maxLength={100} placeholder="mailer" />
      </Field>
      <Field
        label="Queues"
        hint="Names with commas between them; a key of some queues can see and do nothing else. Empty is everything."
      >
        <input name="queues" spellcheck={false} />
      </Field>
    </Form>
  );
}
