/**
 * Whether time tells somebody else's session id from one that nobody has: `deno run -A bench/foreign_ids.ts`.
 *
 * The whole application in one process, requests by a principal that has no session: with an id that nobody has, with
 * that of another's session that lives, and with that of one that has ended. In rounds, the kinds in turns within each
 * round, so that what disturbs one disturbs all; ids are drawn from many. Prints each kind's median of all rounds and
 * its ratio to an unknown id, and the same for a second set of unknown ids: what chance alone makes of it.
 *
 * @module
 */
import { Supervisor } from "../actors/supervisor.ts";
import { systemClock } from "../clock.ts";
import { createApp } from "../routes/app.ts";
import { Access, digestOf } from "../routes/access.ts";
import { MemoryStore } from "../stores/memory.ts";
import { FakeBackend } from "../tests/fakes/fake_backend.ts";
import { FakeReply } from "../tests/fakes/fake_client.ts";
import { LIMITS, request, SERVER } from "../tests/fakes/harness.ts";

const SESSIONS = 200;
const ROUNDS = 400;
/** Requests of each kind in one round. */
const IN_ROUND = 50;

const supervisor = new Supervisor({
  clock: systemClock,
  store: new MemoryStore({ tombstones: 2 * SESSIONS }),
  servers: [{
    id: SERVER,
    limits: LIMITS,
    backend: (owner, events) => new FakeBackend(owner, events, { autoInitialize: true }),
  }],
});
const tokens = ["ann", "bob"].map((principal) => ({
  principal,
  digest: digestOf(principal),
  servers: undefined,
  expiresAtMs: undefined,
}));
const app = createApp({
  access: new Access({
    clock: systemClock,
    tokenRequired: true,
    tokens,
    allowedOrigins: [],
    allowedHosts: [],
    onLoopback: true,
    authFailuresPerMinute: 60,
  }),
  supervisor,
  clock: systemClock,
  implicitSessions: true,
});

const living = await open(SESSIONS);
const ended = await open(SESSIONS);
await Promise.all(ended.map((id) => supervisor.find(SERVER, id, "ann")!.end("client_delete")));
const nobodys = () => Array.from({ length: SESSIONS }, () => crypto.randomUUID());
const kinds: Record<string, string[]> = {
  "unknown": nobodys(),
  "unknown again": nobodys(),
  "another's, living": living,
  "another's, ended": ended,
};
const names = Object.keys(kinds);
const found: Record<string, number[]> = Object.fromEntries(names.map((name) => [name, []]));
for (let round = 0; round < ROUNDS; round++) {
  // Who comes first changes from round to round.
  for (let n = 0; n < names.length; n++) {
    const name = names[(round + n) % names.length]!;
    const us = await measure(kinds[name]!, round);
    // The first rounds are for the compiler.
    if (round >= ROUNDS / 4) found[name]!.push(us);
  }
}
const usual = median(found["unknown"]!);
for (const name of names) {
  const us = median(found[name]!);
  print(`${name.padEnd(20)} ${us.toFixed(2)} µs a request   ${(us / usual).toFixed(3)} of unknown`);
}
await supervisor.shutDown(0);

async function open(count: number): Promise<string[]> {
  const replies = Array.from({ length: count }, () => {
    const reply = new FakeReply();
    const message = request("initialize", { id: "init" });
    supervisor.open({
      serverId: SERVER,
      principal: "ann",
      opener: { tag: "message", message, reply },
      implicitVersion: undefined,
    });
    return reply;
  });
  await new Promise((resolve) => setTimeout(resolve, 50));
  return replies.map(({ sessionId }) => sessionId!);
}

async function measure(ids: readonly string[], round: number): Promise<number> {
  const requests = Array.from({ length: IN_ROUND }, (_, n) =>
    new Request(`http://localhost/mcp/${SERVER}`, {
      method: "POST",
      headers: {
        accept: "application/json, text/event-stream",
        "content-type": "application/json",
        authorization: "Bearer bob",
        "mcp-session-id": ids[(round * IN_ROUND + n) % ids.length]!,
      },
      body: '{"jsonrpc":"2.0","id":1,"method":"tools/list"}',
    }));
  const before = performance.now();
  for (const request of requests) {
    const { status } = await app(request);
    if (status !== 404) throw new Error(`answered with ${status}`);
  }
  return 1000 * (performance.now() - before) / IN_ROUND;
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)]!;
}

function print(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}
