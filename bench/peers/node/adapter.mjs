// What every adapter in Node.js is: a program that does a plan with one peer.
//
// `node PEER.mjs PLAN RESULT`: plans, results and tallies are those of ../plans.py, and
// what is done with them is that of ../adapter.py, ../producing.py and ../handler.py:
// who changes one changes both.

import { createHmac } from "node:crypto";
import fs from "node:fs";
import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";

import { Pool } from "undici";

const STAMP = "sent_at";
const TALLY_MS = 20;
const HANDLERS = { nothing, webhook: webhooks, clock };

// Seconds since some moment, the same for all processes, as Python's time.monotonic.
export function monotonic() {
  return Number(process.hrtime.bigint()) / 1e9;
}

// Do the plan that the command line names with a peer: an object with a distribution,
// setUp(plan), openProducer(plan) and work(plan, handle).
export async function main(peer) {
  const [planFile, resultFile] = process.argv.slice(2);
  const plan = JSON.parse(fs.readFileSync(planFile, "utf8"));
  const result = await carryOut(peer, plan);
  if (result !== undefined) {
    fs.writeFileSync(resultFile, JSON.stringify(result));
    process.exit(0);
  }
}

async function carryOut(peer, plan) {
  if (plan.do === "setup") {
    await peer.setUp(plan);
    return { version: versionOf(peer.distribution) };
  }
  if (plan.do === "work") {
    await peer.work(plan, handler(plan));
    return undefined;
  }
  const producer = await peer.openProducer(plan);
  const result = await produce(plan, producer);
  await producer.close();
  return result;
}

function versionOf(distribution) {
  const folder = createRequire(import.meta.url).resolve.paths("")[0];
  const text = fs.readFileSync(`${folder}/${distribution}/package.json`, "utf8");
  return JSON.parse(text).version;
}

// --- creating jobs -------------------------------------------------------------------

async function produce(plan, producer) {
  const latencies = [];
  const created = [];
  let asked = 0;

  function next() {
    return plan.payloads[asked++ % plan.payloads.length];
  }

  async function callOne() {
    const payload = next();
    const sent = monotonic();
    const jobId = await producer.enqueue(
      plan.stamped ? { ...payload, [STAMP]: sent } : payload,
    );
    const accepted = monotonic();
    latencies.push(accepted - sent);
    if (plan.records) created.push([webhookId(jobId), sent, accepted]);
  }

  async function callMany() {
    const many = [];
    while (many.length < plan.batch && asked < plan.jobs) many.push(next());
    const sent = monotonic();
    await producer.enqueueMany(many);
    latencies.push(monotonic() - sent);
  }

  async function callOn(call) {
    while (asked < plan.jobs && monotonic() - began < plan.seconds) await call();
  }

  async function keepPace() {
    for (let number = 0; number < Math.floor(plan.rate * plan.seconds); number++) {
      const due = began + number / plan.rate;
      await sleep(Math.max(due - monotonic(), 0) * 1000);
      await callOne();
    }
  }

  const cpu = process.cpuUsage();
  const began = monotonic();
  if (plan.rate !== null) {
    await keepPace();
  } else {
    const call = plan.do === "enqueue" ? callOne : callMany;
    await Promise.all(Array.from({ length: plan.callers }, () => callOn(call)));
  }
  const seconds = monotonic() - began;
  const { user, system } = process.cpuUsage(cpu);
  if (plan.records) writeCreated(plan.records, created);
  return {
    jobs: asked,
    seconds,
    p50_ms: milliseconds(latencies, 0.5),
    p99_ms: milliseconds(latencies, 0.99),
    cpu_seconds: (user + system) / 1e6,
  };
}

// As bench/records.py reads it: the id's 16 bytes, and two times.
function writeCreated(file, created) {
  const bytes = Buffer.alloc(created.length * 32);
  created.forEach(([id, sent, accepted], number) => {
    bytes.write(id.replaceAll("-", ""), number * 32, "hex");
    bytes.writeDoubleLE(sent, number * 32 + 16);
    bytes.writeDoubleLE(accepted, number * 32 + 24);
  });
  fs.writeFileSync(file, bytes);
}

function milliseconds(values, share) {
  values.sort((one, other) => one - other);
  const place = Math.min(Math.floor(values.length * share), values.length - 1);
  return Number((values[place] * 1000).toFixed(2));
}

// A peer's job id as the sink wants it: as the text of a UUID.
export function webhookId(jobId) {
  const text = String(jobId);
  if (text.includes("-")) return text;
  const digits = BigInt(text).toString(16).padStart(32, "0");
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

// --- handling them -------------------------------------------------------------------

function handler(plan) {
  const act = HANDLERS[plan.handler](plan);
  const file = fs.openSync(plan.tally, "w");
  const tally = Buffer.alloc(16);
  let handled = 0;
  let first = 0;
  let told = -1;
  setInterval(() => {
    if (handled === told) return;
    tally.writeBigInt64LE(BigInt(handled), 0);
    tally.writeDoubleLE(first, 8);
    fs.writeSync(file, tally, 0, 16, 0);
    told = handled;
  }, TALLY_MS);
  return async (jobId, payload) => {
    first ||= monotonic();
    await act(jobId, payload);
    handled++;
  };
}

function nothing() {
  return async () => {};
}

function webhooks(plan) {
  const sink = new URL(plan.sink);
  const http = new Pool(sink.origin, {
    connections: plan.settings.at_once,
    pipelining: 1,
  });
  const key = Buffer.from(plan.secret.replace(/^whsec_/, ""), "base64");
  return async (jobId, payload) => {
    const body = JSON.stringify(payload);
    const id = webhookId(jobId);
    const now = Math.floor(Date.now() / 1000);
    const signed = createHmac("sha256", key).update(`${id}.${now}.${body}`);
    const answer = await http.request({
      path: sink.pathname,
      method: "POST",
      body,
      headers: {
        "Content-Type": "application/json",
        "webhook-id": id,
        "webhook-timestamp": String(now),
        "webhook-signature": `v1,${signed.digest("base64")}`,
      },
    });
    await answer.body.dump();
    if (answer.statusCode < 200 || answer.statusCode > 299)
      throw new Error(`the sink said ${answer.statusCode}`);
  };
}

function clock(plan) {
  const waits = fs.openSync(plan.tally.replace(/\.tally$/, ".waits"), "w");
  return async (_, payload) => {
    const bytes = Buffer.alloc(8);
    bytes.writeDoubleLE(monotonic() - payload[STAMP]);
    fs.writeSync(waits, bytes);
  };
}
