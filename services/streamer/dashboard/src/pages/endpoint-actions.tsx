// What can be done about a receiver: test it, send again, change its secret or its rate.

import { useState } from "preact/hooks";
import { patch, post } from "../api";
import { duration, moment } from "../format";
import type { Endpoint, EndpointTest, RotatedSecret } from "../shapes";
import { Field, Form, ShownOnce } from "../ui/form";
import { Act, Button, Text } from "../ui/parts";
import { attempt, sure } from "../ui/talk";

interface Asking {
  one: Endpoint;
  close: () => void;
  again: () => void;
}

const DEEDS = { test: Test, replay: StartReplay, rotate: Rotate, rate: Rate };

export function Actions({ one, again }: { one: Endpoint; again: () => void }) {
  const [open, setOpen] = useState<keyof typeof DEEDS | null>(null);
  const Deed = open && DEEDS[open];
  return (
    <>
      <Button onClick={() => setOpen("test")} icon="play">
        Send a test
      </Button>
      <Button onClick={() => setOpen("replay")}>Replay</Button>
      <Button onClick={() => setOpen("rotate")}>Rotate secret</Button>
      <Button onClick={() => setOpen("rate")}>Rate</Button>
      <Act
        kind={one.enabled ? "danger" : "main"}
        run={async () => {
          const yes =
            !one.enabled ||
            (await sure(
              "Disable this endpoint?",
              "Its deliveries wait until it is enabled again; nothing is lost.",
              "Disable it",
            ));
          const run = () => patch(pathOf(one), { enabled: !one.enabled });
          const done = one.enabled
            ? "It is disabled"
            : "It is enabled, and what waited goes";
          if (yes && (await attempt(run, done))) again();
        }}
      >
        {one.enabled ? "Disable" : "Enable"}
      </Act>
      {Deed && <Deed one={one} close={() => setOpen(null)} again={again} />}
    </>
  );
}

const pathOf = (one: Endpoint): string => `/endpoints/${one.id}`;

function Rotate({ one, close }: Asking) {
  const [made, setMade] = useState<RotatedSecret | null>(null);
  const title = "Rotate the signing secret";
  if (made !== null) {
    return (
      <ShownOnce
        title={title}
        text="This is the new secret. It is shown once: give it to the receiver now."
        secret={made.secret}
        name="secret"
        close={close}
      >
        {made.previous[0] && (
          <p class="hint">
            The old one signs as well until {moment(made.previous[0].expires_at)}.
          </p>
        )}
      </ShownOnce>
    );
  }
  return (
    <Form
      title={title}
      yes="Rotate"
      stay
      close={close}
      send={async (given) => {
        const seconds = Math.round(Number(given.get("hours")) * 3600);
        const body = { overlap_seconds: seconds };
        setMade(await post<RotatedSecret>(`${pathOf(one)}/secret/rotate`, body));
      }}
    >
      <p class="dialog-text">
        Deliveries are signed with the new secret and with the old one until the overlap
        is over, so that the receiver can change in between.
      </p>
      <Field label="Hours during which the old one signs as well">
        <input
          name="hours"
          type="number"
          min={0}
          max={168}
          step="any"
          value={24}
          required
        />
      </Field>
    </Form>
  );
}

function Test({ one, close }: Asking) {
  const [went, setWent] = useState<EndpointTest | null>(null);
  return (
    <Form
      title="Send a test"
      yes="Send"
      stay
      close={close}
      send={async (given) => {
        setWent(null);
        const body = {
          event_type: String(given.get("type")),
          payload: JSON.parse(String(given.get("payload"))) as unknown,
        };
        setWent(await post<EndpointTest>(`${pathOf(one)}/test`, body));
      }}
    >
      <Field label="Event type">
        <input name="type" defaultValue="endpoint.test" required maxLength={100} />
      </Field>
      <Field label="Payload (JSON)">
        <textarea
          name="payload"
          rows={4}
          spellcheck={false}
          defaultValue={'{"hello": "world"}'}
        />
      </Field>
      {went && (
        <div class={`callout ${went.success ? "is-good" : "is-bad"}`} role="status">
          <b>
            {went.success ? "It was taken" : (went.error ?? "It was refused")}
            {went.status_code && `, HTTP ${went.status_code}`}, after{" "}
            {duration(went.response_time_ms)}
          </b>
          {went.response_body && (
            <Text label="response body of the test" value={went.response_body} />
          )}
        </div>
      )}
    </Form>
  );
}

function StartReplay({ one, close }: Asking) {
  return (
    <Form
      title="Replay"
      yes="Replay"
      done="The replay has begun"
      close={close}
      send={(given) => {
        const ms = Number(given.get("hours")) * 3_600_000;
        return post(`${pathOf(one)}/replay`, {
          since: new Date(Date.now() - ms).toISOString(),
          status: String(given.get("status")),
          rate_per_second: Number(given.get("rate")),
        });
      }}
    >
      <p class="dialog-text">
        Send again what it was sent, in order, at a rate it bears.
      </p>
      <Field label="What">
        <select name="status">
          <option value="failed">what failed</option>
          <option value="missed">
            what it has missed: it was not there yet, or disabled
          </option>
          <option value="all">everything</option>
        </select>
      </Field>
      <Field label="Of the last hours">
        <input
          name="hours"
          type="number"
          min={0.1}
          max={720}
          step="any"
          value={24}
          required
        />
      </Field>
      <Field label="At most so many a second">
        <input
          name="rate"
          type="number"
          min={0.1}
          max={1000}
          step="any"
          value={10}
          required
        />
      </Field>
    </Form>
  );
}

function Rate({ one, close, again }: Asking) {
  return (
    <Form
      title="How fast it may be sent to"
      yes="Save"
      done="It holds at once"
      close={close}
      send={async (given) => {
        const rate = String(given.get("rate"));
        await patch(pathOf(one), {
          rate_limit_per_second: rate === "" ? null : Number(rate),
          max_concurrency: Number(given.get("together")),
        });
        again();
      }}
    >
      <Field label="Deliveries a second" hint="Empty is no limit.">
        <input
          name="rate"
          type="number"
          min={0.01}
          step="any"
          value={one.rate_limit_per_second ?? ""}
        />
      </Field>
      <Field label="At the same time">
        <input
          name="together"
          type="number"
          min={1}
          value={one.max_concurrency}
          required
        />
      </Field>
    </Form>
  );
}
