import { assert, assertEquals, assertMatch } from "@std/assert";
import type { GatewayEvent } from "../../actors/supervisor.ts";
import { settle } from "../fakes/fake_clock.ts";
import { SERVER } from "../fakes/harness.ts";
import { Monitoring, OTHER, type Who } from "../fakes/monitoring.ts";

/** One event as it came. */
interface Seen {
  readonly event: string;
  readonly id: number;
  // deno-lint-ignore no-explicit-any
  readonly data: any;
}

/** One who watches. */
class Watcher {
  text = "";
  ended = false;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;

  private constructor(readonly monitoring: Monitoring, body: ReadableStream<Uint8Array>) {
    this.#reader = body.getReader();
  }

  static async open(monitoring: Monitoring, as?: Who): Promise<Watcher> {
    const response = await monitoring.fetch("GET", "/sessions/events", { as });
    assertEquals([response.status, response.headers.get("content-type")], [200, "text/event-stream"]);
    return new Watcher(monitoring, response.body!);
  }

  /** Reads for as long as something comes. */
  async read(): Promise<Seen[]> {
    const decoder = new TextDecoder();
    let last = -1;
    void (async () => {
      for (;;) {
        const { done, value } = await this.#reader.read();
        this.ended ||= done;
        if (done) return;
        this.text += decoder.decode(value, { stream: true });
      }
    })();
    while (last !== this.text.length) {
      last = this.text.length;
      for (let turn = 0; turn < 5; turn++) await settle();
    }
    this.monitoring.said.push(this.text);
    return this.seen;
  }

  get seen(): Seen[] {
    return this.text.split("\n\n").filter((block) => block.startsWith("event:")).map((block) => {
      const [event, id, data] = block.split("\n").map((line) => line.slice(line.indexOf(": ") + 2));
      return { event: event!, id: Number(id), data: JSON.parse(data!) };
    });
  }

  async hangUp(): Promise<void> {
    await this.#reader.cancel();
  }
}

const SWEEP: GatewayEvent = {
  type: "sweep",
  at: 1_700_000_000_000,
  asked: 10,
  expired: 2,
  evicted: 1,
  tookMs: 1.6,
  intervalMs: 50_000,
  cause: "many expired",
};
const PRESSURE: GatewayEvent = {
  type: "pressure",
  at: 1_700_000_000_000,
  memory: 0.90001,
  load: 0.90001,
  part: "memory",
  scale: 0.5,
};

Deno.test("Events tell what happens to sessions, in order and with ids that go up", async () => {
  await using monitoring = await Monitoring.start();
  const { clock, supervisor } = monitoring.harness;
  const watcher = await Watcher.open(monitoring);
  const at = new Date(clock.wallTime()).toISOString();
  const { handle, session } = await monitoring.open();
  await clock.advance(300_000);
  await session.end("idle");
  supervisor.events.publish(SWEEP);
  supervisor.events.publish(PRESSURE);
  const about = { id: handle, serverId: SERVER, principal: "anyone" };
  const later = new Date(clock.wallTime()).toISOString();
  assertEquals(await watcher.read(), [
    { event: "opened", id: 1, data: { at, ...about } },
    { event: "state", id: 2, data: { at, ...about, state: "active" } },
    { event: "state", id: 3, data: { at: later, ...about, state: "expired" } },
    {
      event: "ended",
      id: 4,
      data: { at: later, ...about, reason: "idle", message: "it was idle for longer than its TTL" },
    },
    {
      event: "sweep",
      id: 5,
      data: {
        at: "2023-11-14T22:13:20.000Z",
        asked: 10,
        expired: 2,
        evicted: 1,
        tookMs: 2,
        intervalMs: 50_000,
        cause: "many expired",
      },
    },
    {
      event: "pressure",
      id: 6,
      data: { at: "2023-11-14T22:13:20.000Z", memory: 0.9, load: 0.9, part: "memory", ttlScale: 0.5 },
    },
  ]);
  assertMatch(watcher.text, /^event: opened\nid: 1\ndata: \{.*\}\n\n/);
  await watcher.hangUp();
});

Deno.test("Everybody sees the events of their own sessions, and administrators see all", async () => {
  await using monitoring = await Monitoring.start({ tokens: true });
  const watchers = new Map<Who, Watcher>();
  for (const as of ["admin", "ann", "bob", "cat"] as const) {
    watchers.set(as, await Watcher.open(monitoring, as));
  }
  const ann = await monitoring.open({ principal: "ann" });
  const cat = await monitoring.open({ principal: "cat", serverId: OTHER });
  // Not on the list of servers of its token any more.
  await monitoring.open({ principal: "cat" });
  monitoring.harness.supervisor.events.publish(SWEEP);
  monitoring.harness.supervisor.events.publish(PRESSURE);
  await ann.session.end("admin");
  const seen = async (as: Who) =>
    (await watchers.get(as)!.read()).map(({ event, id, data }) => `${id} ${event} ${data.principal ?? ""}`);
  assertEquals(await seen("ann"), ["1 opened ann", "2 state ann", "3 ended ann"]);
  assertEquals(await seen("bob"), []);
  assertEquals(await seen("cat"), ["1 opened cat", "2 state cat"]);
  assertEquals((await seen("admin")).length, 9);
  assertEquals(watchers.get("cat")!.seen.every(({ data }) => data.id === cat.handle), true);
  for (const watcher of watchers.values()) await watcher.hangUp();
});

Deno.test("Nobody watches, nothing is made: the subscription goes with the last reader", async () => {
  await using monitoring = await Monitoring.start();
  const { events } = monitoring.harness.supervisor;
  assertEquals(events.watched, false);
  const [a, b] = [await Watcher.open(monitoring), await Watcher.open(monitoring)];
  assertEquals([events.watched, monitoring.feed.size], [true, 2]);
  await a.hangUp();
  assertEquals([events.watched, monitoring.feed.size], [true, 1]);
  await b.hangUp();
  assertEquals([events.watched, monitoring.feed.size], [false, 0]);
  assertEquals(monitoring.harness.clock.pending, 0);
});

Deno.test("While nothing happens a comment goes out every 15 s", async () => {
  await using monitoring = await Monitoring.start();
  const watcher = await Watcher.open(monitoring);
  await watcher.read();
  await monitoring.harness.clock.advance(15_000);
  await settle();
  assertEquals(watcher.text, ": keep-alive\n\n");
  await watcher.hangUp();
});

Deno.test("A reader that does not read is cut, at a bound, and the others go on", async () => {
  const BOUND = 64 * 1024;
  await using monitoring = await Monitoring.start({ maxBufferBytes: BOUND });
  const { events } = monitoring.harness.supervisor;
  const [slow, good] = [await Watcher.open(monitoring), await Watcher.open(monitoring)];
  let published = 0;
  for (; monitoring.feed.size === 2; published++) {
    assert(published < 2_000, "it is never cut");
    events.publish(SWEEP);
    await good.read();
  }
  const bytes = new TextEncoder().encode(good.text).byteLength;
  assert(bytes > BOUND && bytes < BOUND + 1_000, `it was cut after ${bytes} bytes`);
  assertEquals(monitoring.feed.cuts, 1);
  events.publish(PRESSURE);
  assertEquals((await good.read()).at(-1)!.event, "pressure");
  // Its response has ended, without what waited.
  assertEquals((await slow.read()).length, 0);
  assert(slow.ended);
  await good.hangUp();
});

Deno.test("A burst larger than the bound cuts those that had no turn to read, and frees them", async () => {
  await using monitoring = await Monitoring.start({ maxBufferBytes: 4_096 });
  const { events } = monitoring.harness.supervisor;
  await Watcher.open(monitoring);
  for (let n = 0; n < 10_000; n++) events.publish(SWEEP);
  assertEquals([monitoring.feed.size, events.watched, monitoring.harness.clock.pending], [0, false, 0]);
});

Deno.test("More streams than 32 are refused, and of one principal more than 8", async () => {
  await using monitoring = await Monitoring.start({ tokens: true });
  const watchers: Watcher[] = [];
  const open = async (as: Who, count: number) => {
    for (let n = 0; n < count; n++) watchers.push(await Watcher.open(monitoring, as));
  };
  const refused = async (as: Who) => {
    const { status, body, headers } = await monitoring.get("/sessions/events", as);
    assertEquals([status, headers.get("retry-after")], [503, "5"]);
    return body.detail;
  };
  await open("ann", 8);
  assertEquals(await refused("ann"), "Too many streams of events are open: 8 of yours");
  await open("bob", 8);
  await open("admin", 16);
  assertEquals(await refused("admin"), "Too many streams of events are open: 32 in all");
  assertEquals(await refused("cat"), "Too many streams of events are open: 32 in all");
  await watchers.pop()!.hangUp();
  await open("cat", 1);
  for (const watcher of watchers) await watcher.hangUp();
});

Deno.test("When the gateway shuts down watchers are told of every end, and then their streams end", async () => {
  await using monitoring = await Monitoring.start();
  const { harness: { supervisor, clock }, feed } = monitoring;
  await monitoring.open();
  const watcher = await Watcher.open(monitoring);
  await watcher.read();
  const done = supervisor.shutDown(0);
  await clock.advance(1);
  await done;
  feed.close();
  await settle();
  assertEquals(watcher.seen.map(({ event, data }) => `${event} ${data.reason}`), ["ended shutdown"]);
  await settle();
  assert(watcher.ended);
  feed.close();
  assertEquals((await monitoring.get("/sessions/events")).body.detail, "Gateway is shutting down");
});

Deno.test("An event with a long text is cut short", async () => {
  await using monitoring = await Monitoring.start({ limits: { stateful: true } });
  const watcher = await Watcher.open(monitoring);
  const { backend } = await monitoring.open();
  backend.exit({ cause: "exit", detail: "x".repeat(100_000) });
  await settle();
  const { data } = (await watcher.read()).at(-1)!;
  assertEquals([data.reason, data.message.length], ["backend_exit", 501]);
  await watcher.hangUp();
});
