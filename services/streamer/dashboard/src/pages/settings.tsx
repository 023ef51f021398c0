// Keys of the organization, and how much of its plan is used.

import { useState } from "preact/hooks";
import { get, post, remove } from "../api";
import { count, percent } from "../format";
import { useAsked, useClock } from "../query";
import type { Me } from "../session";
import type { Key, NewKey, Usage } from "../shapes";
import { Field, Form, NumberField, numberOf, Secret } from "../ui/form";
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
                  { name: "State", cell: (key) => <State of={key} /> },
                  {
                    name: "Queues",
                    cell: (key) =>
                      key.queues.length === 0 ? "all" : key.queues.join(", "),
                  },
                  {
                    name: "Rate",
                    cell: (key) =>
                      key.rate_limit === null
                        ? "the plan's"
                        : `${count(key.rate_limit)} a minute`,
                  },
                  { name: "Last used", cell: (key) => <When at={key.last_used} /> },
                  { name: "Expires", cell: (key) => <When at={key.expires_at} /> },
                  {
                    name: "",
                    kind: "tail",
                    cell: (key) =>
                      key.is_active && (
                        <Revoke
                          one={key}
                          own={key.id === me.data?.api_key_id}
                          again={again}
                        />
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
  return (
    <Form
      title="New key"
      yes="Make it"
      close={close}
      send={async (given) => {
        const queues = String(given.get("queues"))
          .split(/[\s,]+/)
          .filter(Boolean);
        const rate = numberOf(given, "rate");
        const end = String(given.get("end"));
        const made = await post<NewKey>("/api-keys", {
          name: String(given.get("name")),
          ...(queues.length > 0 && { queues }),
          ...(rate !== null && { rate_limit: rate }),
          ...(end !== "" && { expires_at: new Date(end).toISOString() }),
        });
        done();
        return made;
      }}
      once
      shown={({ key }) => (
        <Secret
          text="This is the key. It is shown once: keep it now."
          secret={key}
          name="key"
        />
      )}
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
      <Field label="Good until" hint="Empty is for ever.">
        <input name="end" type="datetime-local" />
      </Field>
      <NumberField
        label="Requests a minute"
        hint="At most. Empty is what the plan allows."
        name="rate"
        min={1}
        max={10_000}
      />
    </Form>
  );
}

function Revoke({
  one,
  own,
  again,
}: {
  one: Key;
  /** Whether who looks is signed in with it. */
  own: boolean;
  again: () => void;
}) {
  return (
    <Act
      kind="quiet"
      aria-label={`Revoke ${one.name}`}
      run={async () => {
        const yes = await sure(
          `Revoke ${one.name}?`,
          own
            ? "It is the key that you are signed in with: you are signed out, too."
            : "Whoever uses it is refused from now on.",
          "Revoke it",
        );
        const run = () => remove(`/api-keys/${one.id}`);
        if (yes && (await attempt(run, "The key is revoked"))) again();
      }}
    >
      Revoke
    </Act>
  );
}

/** Whether a key is let in: not once it is revoked, or its time is over. */
function State({ of }: { of: Key }) {
  const now = useClock();
  if (!of.is_active) return <Badge of="disabled">revoked</Badge>;
  const over = of.expires_at !== null && Date.parse(of.expires_at) <= now;
  return <Badge of={over ? "expired" : "active"} />;
}
