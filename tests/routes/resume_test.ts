/**
 * Streams that broke off go on where they did: on the same stream, with nothing lost, doubled or somebody else's.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import { AppHarness, type OpenedSession } from "../fakes/app_harness.ts";
import { Connection } from "../fakes/connection.ts";
import { settle } from "../fakes/fake_clock.ts";

const VERSION = "2025-11-25";
const EVENTS = { accept: "text/event-stream" };

interface Scene {
  readonly app: AppHarness;
  readonly session: OpenedSession;
  readonly call: (id: number) => Promise<Connection>;
  readonly get: (lastEventId?: string) => Promise<Response>;
  readonly progress: (id: number, n: number) => Promise<void>;
  readonly tell: (n: number) => Promise<void>;
  readonly answer: (id: number, n: number) => Promise<void>;
}

async function scene(version = VERSION): Promise<Scene> {
  const app = new AppHarness({ autoInitialize: false, limits: { sseAfterMs: 0 } });
  const session = await app.open(version);
  const { backend, headers } = session;
  const says = async (message: Record<string, unknown>) => {
    backend.says(message);
    await settle();
  };
  return {
    app,
    session,
    call: async (id) => {
      const pending = app.post({
        jsonrpc: "2.0",
        id,
        method: "tools/call",
        params: { name: "x", _meta: { progressToken: id } },
      }, headers);
      await settle();
      await app.harness.clock.advance(0);
      const connection = new Connection(await pending);
      await settle();
      return connection;
    },
    get: (lastEventId) =>
      app.send("GET", {
        headers: {
          ...EVENTS,
          ...headers,
          ...(lastEventId !== undefined && { "last-event-id": lastEventId }),
        },
      }),
    progress: (id, n) =>
      says({ method: "notifications/progress", params: { progressToken: id, progress: n, n } }),
    tell: (n) => says({ method: "notifications/tools/list_changed", params: { n } }),
    answer: (id, n) => says({ id, result: { n } }),
  };
}

/** The id of another event of the same stream. */
function withEvent(id: string, event: number): string {
  return id.replace(/-\d+/, `-${event}`);
}

async function connect(pending: Promise<Response>): Promise<Connection> {
  const connection = new Connection(await pending);
  await settle();
  return connection;
}

Deno.test("Streams of a 2025-11-25 session begin with a priming event, and every event has an id", async () => {
  const { app, call, get, progress, tell } = await scene();
  const reply = await call(1);
  const standalone = await connect(get());
  await progress(1, 1);
  const [, epoch] = /^([0-9a-z]{8})\.1-0\.MQ$/.exec(reply.events[0]!.id!)!;
  assertEquals(reply.events[0], { id: `${epoch}.1-0.MQ`, retry: "1000", data: "" });
  assertEquals(standalone.events[0], { id: `${epoch}.2-0`, retry: "1000", data: "" });
  assertEquals(reply.lastId, `${epoch}.1-1.MQ`);
  await reply.hangUp();
  await tell(2);
  assertEquals(standalone.lastId, `${epoch}.2-1`);
  await app.stop();
});

for (const version of ["2024-11-05", "2025-03-26", "2025-06-18"]) {
  Deno.test(`Streams of a ${version} session have neither ids nor priming events, and Last-Event-ID means nothing`, async () => {
    const { app, call, get, progress } = await scene(version);
    const reply = await call(1);
    await progress(1, 1);
    assertEquals(reply.events.map(({ id, data }) => [id, data !== ""]), [[undefined, true]]);
    const standalone = await connect(get("1-0"));
    assertEquals([standalone.response.status, standalone.events], [200, []]);
    await app.stop();
  });
}

Deno.test("A call whose connection was lost goes on on another: what was missed, what comes, the answer, the end", async () => {
  const { app, call, get, progress, answer, session } = await scene();
  const reply = await call(1);
  for (const n of [1, 2, 3]) await progress(1, n);
  assertEquals(reply.words, [1, 2, 3]);
  const seen = reply.idOf(1);
  await reply.hangUp();
  await progress(1, 4);
  const resumed = await connect(get(seen));
  assertEquals(resumed.words, [2, 3, 4]);
  await progress(1, 5);
  await answer(1, 6);
  assertEquals([resumed.words, resumed.ended], [[2, 3, 4, 5, 6], true]);
  assertEquals(resumed.events.map(({ id }) => id), [2, 3, 4, 5, 6].map((n) => withEvent(seen, n)));
  assertEquals(session.session.inFlight, 0);
  await app.stop();
});

Deno.test("Progress of a call whose connection was lost stays on its stream, also with another one open", async () => {
  const { app, call, get, progress, answer } = await scene();
  const reply = await call(1);
  await progress(1, 1);
  await reply.hangUp();
  await progress(1, 2);
  const standalone = await connect(get());
  await progress(1, 3);
  const resumed = await connect(get(reply.lastId));
  await answer(1, 4);
  assertEquals([resumed.words, standalone.words], [[2, 3, 4], []]);
  await app.stop();
});

Deno.test("An answer whose client was away waits for it, more than once", async () => {
  const { app, call, get, progress, answer } = await scene();
  const reply = await call(1);
  await progress(1, 1);
  await reply.hangUp();
  await answer(1, 2);
  for (let times = 0; times < 2; times++) {
    const resumed = await connect(get(reply.lastId));
    assertEquals([resumed.words, resumed.ended], [[2], true]);
  }
  await app.stop();
});

Deno.test("A stream is resumed from its priming event, though nothing had come on it", async () => {
  const { app, call, get, answer } = await scene();
  const reply = await call(1);
  await reply.hangUp();
  await answer(1, 1);
  assertEquals((await connect(get(reply.lastId))).words, [1]);
  await app.stop();
});

Deno.test("The standalone stream goes on with what was lost on the way and what was kept meanwhile", async () => {
  const { app, get, tell } = await scene();
  const standalone = await connect(get());
  for (const n of [1, 2]) await tell(n);
  const seen = standalone.idOf(1);
  await standalone.hangUp();
  await tell(3);
  const resumed = await connect(get(seen));
  assertEquals(resumed.words, [2, 3]);
  await tell(4);
  assertEquals([resumed.words, resumed.ended], [[2, 3, 4], false]);
  await app.stop();
});

Deno.test("A connection that is half open is ended where its stream goes on elsewhere", async () => {
  const { app, call, get, progress, tell } = await scene();
  const reply = await call(1);
  await progress(1, 1);
  const standalone = await connect(get());
  const onward = await connect(get(reply.lastId));
  await settle();
  assertEquals([reply.ended, standalone.ended, onward.ended], [true, false, false]);
  await progress(1, 2);
  await tell(3);
  assertEquals([reply.words, onward.words, standalone.words], [[1], [2, 3], []]);
  const again = await connect(get(standalone.lastId));
  await settle();
  assertEquals([standalone.ended, again.ended, onward.ended], [true, false, false]);
  await app.stop();
});

Deno.test("Resuming one stream touches no other", async () => {
  const { app, call, get, progress, answer } = await scene();
  const [one, two] = [await call(1), await call(2)];
  const standalone = await connect(get());
  await progress(1, 1);
  await progress(2, 2);
  await one.hangUp();
  const resumed = await connect(get(one.lastId));
  await answer(2, 3);
  await answer(1, 4);
  assertEquals([resumed.words, two.words, standalone.words], [[4], [2, 3], []]);
  assertEquals([two.ended, resumed.ended, standalone.ended], [true, true, false]);
  await app.stop();
});

// [id, status, message].
const REFUSED: [string, number, string][] = [
  ["nonsense", 400, "Header last-event-id names no event of this session"],
  ["1-0", 400, "Header last-event-id names no event of this session"],
  ["EPOCH.7-0", 400, "Header last-event-id names no event of this session"],
  ["EPOCH.1-99.MQ", 400, "Header last-event-id names no event of this session"],
  // Of another request than the stream is.
  ["EPOCH.1-0.Mg", 400, "Header last-event-id names no event of this session"],
  ["EPOCH.1-0", 400, "Header last-event-id names no event of this session"],
  // As a standalone stream of another run has them; as a request's that is in flight.
  ["aaaaaaaa.1-0", 410, "Some of the events that followed are not kept any more"],
  ["aaaaaaaa.1-0.MQ", 410, "Some of the events that followed are not kept any more"],
];
for (const [id, status, message] of REFUSED) {
  Deno.test(`Last-Event-ID ${id} is answered with ${status}, and no stream is touched`, async () => {
    const { app, call, get, progress } = await scene();
    const reply = await call(1);
    const standalone = await connect(get());
    const response = await get(id.replace("EPOCH", reply.lastId.split(".")[0]!));
    assertEquals([response.status, (await response.json()).error], [status, { code: -32000, message }]);
    await progress(1, 1);
    assertEquals([reply.words, standalone.ended], [[1], false]);
    await app.stop();
  });
}

Deno.test("A stream of which too much was lost says so instead of leaving a hole", async () => {
  const { app, call, get, progress } = await scene();
  const reply = await call(1);
  await progress(1, 1);
  const seen = reply.lastId;
  await reply.hangUp();
  for (let n = 2; n <= 1_002; n++) await progress(1, n);
  const response = await get(seen);
  assertEquals(response.status, 410);
  assertEquals(
    (await response.json()).error.message,
    "Some of the events that followed are not kept any more",
  );
  assertEquals((await connect(get(withEvent(seen, 2)))).words.length, 1_000);
  await app.stop();
});

Deno.test("The id of an event of another session finds nothing of it, whatever it looks like", async () => {
  const { app, call, progress } = await scene();
  const reply = await call(1);
  await progress(1, 1);
  const other = await app.open(VERSION);
  const [epoch] = reply.lastId.split(".");
  // [id, status]: without the epoch, as if it were a standalone stream's, and as it is.
  for (const [id, status] of [["1-0", 400], [`${epoch}.1-1`, 410], [reply.lastId, 200]] as const) {
    const response = await app.send("GET", { headers: { ...EVENTS, ...other.headers, "last-event-id": id } });
    assertEquals(response.status, status);
    const text = await response.text();
    assert(!text.includes('"n"'));
    // All that it gets is an error for the request that the id names.
    assertEquals(text.includes("error"), status !== 200 || text.includes("interrupted"));
  }
  await app.stop();
});

Deno.test("What is kept of a session goes with it", async () => {
  const { app, call, progress, session, get } = await scene();
  const reply = await call(1);
  await progress(1, 1);
  await reply.hangUp();
  await app.send("DELETE", { headers: session.headers });
  await settle();
  assertEquals((await get(reply.lastId)).status, 404);
  assertEquals(session.session.held, 0);
  await app.stop();
});

for (const requestId of [7, "a", "ä\n", 0, -1]) {
  Deno.test(`Who waits for the answer to request ${JSON.stringify(requestId)} of an earlier run gets an error for it`, async () => {
    const { app, get, tell, session } = await scene();
    const standalone = await connect(get());
    const id = `0123abcz.3-7.${Buffer.from(JSON.stringify(requestId)).toString("base64url")}`;
    const resumed = await connect(get(id));
    assertEquals(resumed.messages.map(({ id }) => id), [requestId]);
    assertEquals(resumed.messages[0]!.error, {
      code: -32000,
      message: "Request was interrupted by a restart; it may or may not have been carried out",
    });
    assertEquals([resumed.ended, standalone.ended], [true, false]);
    await tell(1);
    assertEquals([standalone.words, session.session.inFlight], [[1], 0]);
    // It need not come again.
    assertEquals((await get(resumed.lastId)).status, 204);
    await app.stop();
  });
}

Deno.test("What an invented id says of a request has to be an id of one", async () => {
  const { app, get } = await scene();
  for (
    const text of ["null", "{}", "[1]", "1.5", "9007199254740993", "true", "", " 1", "1e0", '"\\u0061"', "x"]
  ) {
    const tag = Buffer.from(text).toString("base64url");
    assertEquals((await get(`aaaaaaaa.1-1${tag === "" ? "" : `.${tag}`}`)).status, 410, text);
  }
  for (const tag of ["A".repeat(129), "a+b", "a.b", "MQ==", "\t"]) {
    assertEquals((await get(`aaaaaaaa.1-1.${tag}`)).status, 400, tag);
  }
  await app.stop();
});

Deno.test("A request whose id is long has a stream that can be resumed, and ids that do not name it", async () => {
  const { app, session, get } = await scene();
  for (
    const [id, isNamed] of [["x".repeat(94), true], ["x".repeat(95), false], ["ä".repeat(90), false]] as const
  ) {
    const pending = app.post({ jsonrpc: "2.0", id, method: "tools/call" }, session.headers);
    await settle();
    await app.harness.clock.advance(0);
    const reply = new Connection(await pending);
    await settle();
    assertEquals(reply.lastId.split(".").length, isNamed ? 3 : 2);
    assert(reply.lastId.length < 200 && /^[!-~]+$/.test(reply.lastId));
    await reply.hangUp();
    session.backend.answer(id, { n: 1 });
    await settle();
    assertEquals((await connect(get(reply.lastId))).words, [1]);
  }
  await app.stop();
});

Deno.test("A stream that begins before its session's server is back is resumed like any other", async () => {
  const app = new AppHarness({ autoInitialize: false, limits: { sseAfterMs: 10, hibernateAfterMs: 1_000 } });
  const { headers, session } = await app.open(VERSION);
  await app.harness.clock.advance(1_000);
  assertEquals(session.state, "hibernated");
  const pending = app.post({ jsonrpc: "2.0", id: 1, method: "tools/list" }, headers);
  await settle();
  await app.harness.clock.advance(10);
  const connection = await connect(pending);
  const primed = connection.events[0]?.id ?? "";
  assert(primed.endsWith("-0.MQ"), `the priming event has the id ${primed}`);
  await connection.hangUp();
  const { backend } = app.harness;
  const [asked] = backend.received;
  assert(asked?.kind === "request" && asked.method === "initialize");
  backend.answer(asked.id, {
    protocolVersion: VERSION,
    capabilities: {},
    serverInfo: { name: "fake", version: "1" },
  });
  await settle();
  backend.answer(1, { tools: [] });
  await settle();
  const rest = await connect(
    app.send("GET", { headers: { ...EVENTS, ...headers, "last-event-id": primed } }),
  );
  assertEquals(rest.messages.map(({ id, result }) => [id, result]), [[1, { tools: [] }]]);
  await app.stop();
});
