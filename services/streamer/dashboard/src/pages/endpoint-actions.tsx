// What can be done about a receiver: test it, send again, change its secret or its rate.

import { useState } from "preact/hooks";
import { patch, post } from "../api";
import { duration, moment } from "../format";
import { parse } from "../json";
import type { Endpoint, EndpointTest, RotatedSecret } from "../shapes";
import { Field, Form, NumberField, numberOf, Secret } from "../ui/form";
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
  return (
    <Form
      title="Rotate the signing secret"
      yes="Rotate"
      close={close}
      send={(given) =>
        post<RotatedSecret>(`${pathOf(one)}/secret/rotate`, {
          overlap_seconds: Math.round(Number(given.get("hours")) * 3600),
        })
      }
      once
      shown={({ secret, previous }) => (
        <Secret
          text="This is the new secret. It is shown once: give it to the receiver now."
          secret={secret}
          name="secret"
        >
          {previous[0] && (
            <p class="hint">
              The old one signs as well until {moment(previous[0].expires_at)}.
            </p>
          )}
        </Secret>
      )}
    >
      <p class="dialog-text">
        Deliveries are signed with the new secret and with the old one until the overlap
        is over, so that the receiver can change in between.
      </p>
      <NumberField
        label="Hours during which the old one signs as well"
        name="hours"
        min={0}
        max={168}
        step="any"
        defaultValue={24}
        required
      />
    </Form>
  );
}

function Test({ one, close }: Asking) {
  return (
    <Form
      title="Send a test"
      yes="Send"
      close={close}
      send={async (given) =>
        post<EndpointTest>(`${pathOf(one)}/test`, {
          event_type: String(given.get("type")),
          payload: parse(String(given.get("payload"))),
        })
      }
      shown={(went) => (
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
      <NumberField
        label="Of the last hours"
        name="hours"
        min={0.1}
        max={720}
        step="any"
        defaultValue={24}
        required
      />
      <NumberField
        label="At most so many a second"
        name="rate"
        min={0.1}
        max={1000}
        step="any"
        defaultValue={10}
        required
      />
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
        await patch(pathOf(one), {
          rate_limit_per_second: numberOf(given, "rate"),
          max_concurrency: numberOf(given, "together"),
        });
        again();
      }}
    >
      <NumberField
        label="Deliveries a second"
        hint="Empty is no limit."
        name="rate"
        min={0.01}
        step="any"
        defaultValue={one.rate_limit_per_second ?? ""}
      />
      <NumberField
        label="At the same time"
        name="together"
        min={1}
        defaultValue={one.max_concurrency}
        required
      />
    </Form>
  );
}
