/**
 * Many sessions that hibernate to the last process, their streams open all the while, and come back.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { fixture, program } from "../fixtures/mod.ts";
import { Gateway, passMs, PROJECT } from "./gateway.ts";
import { type OpenStream, RawSession } from "./raw_client.ts";

/** A minute where nobody else uses the machine. `HIBERNATING_SESSIONS=100` is for who is in a hurry. */
const SESSIONS = Number(Deno.env.get("HIBERNATING_SESSIONS") ?? 1_000);
const AT_ONCE = 40;
const HIBERNATE_AFTER_MS = 3_000;
const HIBERNATING = { hibernateAfterMs: HIBERNATE_AFTER_MS, idleTtlMs: 24 * 3_600_000 };
/** Far more than it takes where nobody else uses the machine. */
const PATIENCE_MS = 600_000;

interface State {
  readonly byState: Readonly<Record<string, number>>;
  readonly slumbers: { readonly hibernations: number; readonly revivals: number; readonly failures: number };
  readonly processes: number;
}

async function stateOf(gateway: Gateway): Promise<State> {
  const { summary } = await (await fetch(`${gateway.origin}/sessions?limit=1`)).json();
  return { byState: summary.counts.byState, slumbers: summary.slumbers, processes: summary.taken.processes };
}

async function waitForState(gateway: Gateway, is: (state: State) => boolean): Promise<State> {
  const until = performance.now() + PATIENCE_MS;
  for (;;) {
    const state = await stateOf(gateway);
    if (is(state)) return state;
    if (performance.now() > until) throw new Error(`It stays at ${JSON.stringify(state)}`);
    await passMs(250);
  }
}

/** Does something for each, so many at a time. */
async function each<Item>(items: Iterable<Item>, what: (item: Item) => Promise<void>): Promise<void> {
  const iterator = items[Symbol.iterator]();
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    for (let next = iterator.next(); !next.done; next = iterator.next()) await what(next.value);
  }));
}

Deno.test(`${SESSIONS} sessions hibernate down to no process and come back, their streams open through it`, async () => {
  const tiny = program("sh", join(PROJECT, "tests/fixtures/tiny_server.sh"));
  await using gateway = await Gateway.start({
    servers: {
      tiny: { ...tiny, session: HIBERNATING },
      recorder: { ...fixture("recorder"), session: HIBERNATING },
    },
    env: {
      MAX_SESSIONS: String(SESSIONS + 1),
      MAX_PROCESSES: String(SESSIONS + 1),
      SPAWN_CONCURRENCY: "16",
    },
  });
  const sessions: { readonly session: RawSession; readonly stream: OpenStream; readonly pid: string }[] = [];
  try {
    const talker = await RawSession.open(gateway, "recorder");
    await using talk = await talker.stream();
    await each(Array(SESSIONS), async () => {
      const session = await RawSession.open(gateway, "tiny");
      const stream = await session.stream();
      sessions.push({ session, stream, pid: await session.text("pid") });
    });
    const asleep = await waitForState(
      gateway,
      ({ byState, processes }) => byState.hibernated === SESSIONS + 1 && processes === 0,
    );
    assert(asleep.slumbers.hibernations >= SESSIONS + 1);
    assertEquals(gateway.children(), []);
    assertEquals(sessions.filter(({ stream }) => stream.ended).length, 0);

    // What one of them says after all that goes out on the stream that was opened before.
    assertEquals(await talker.text("shout", { n: 2 }), "done");
    await talk.message(({ params }) => params?.data === 2, "what the server says by itself");
    await each(sessions, async ({ session, pid }) => {
      const now = await session.text("pid");
      assert(Number(now) > 0 && now !== pid, `${now} after ${pid}`);
    });
    const { slumbers } = await stateOf(gateway);
    assert(slumbers.revivals >= SESSIONS + 1, `${slumbers.revivals} revivals`);
    assertEquals(slumbers.failures, 0);
    assertEquals(sessions.filter(({ stream }) => stream.ended).length, 0);
    assertEquals(talk.ended, false);

    await each(sessions, async ({ session }) => assertEquals(await session.delete(), 204));
    await each(sessions, ({ stream }) => stream.end());
    await talk.cut();
    assertEquals(await talker.delete(), 204);
    await gateway.waitForChildren(0, PATIENCE_MS);
    assertEquals(await gateway.stop(), 0);
  } finally {
    await Promise.all(sessions.map(({ stream }) => stream.cut()));
  }
});
