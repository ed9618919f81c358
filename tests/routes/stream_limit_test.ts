/**
 * Responses that are ended on purpose after `STREAM_MAX_MS`: their streams go on on other connections.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { RETRY_MS } from "../../routes/sse_stream.ts";
import { AppHarness, type OpenedSession } from "../fakes/app_harness.ts";
import { Connection } from "../fakes/connection.ts";
import { settle } from "../fakes/fake_clock.ts";
import type { HarnessOptions } from "../fakes/harness.ts";

const MAX_MS = 60_000;
const EVENTS = { accept: "text/event-stream" };

class Scene {
  readonly app: AppHarness;
  session!: OpenedSession;

  constructor(limits: HarnessOptions["limits"] = {}, maxMs = MAX_MS) {
    this.app = new AppHarness({
      autoInitialize: false,
      limits: { sseAfterMs: 0, onOpenStream: "ping", ...limits },
      streams: { maxMs },
    });
  }

  static async open(
    { version = "2025-11-25", limits, maxMs }: {
      version?: string;
      limits?: HarnessOptions["limits"];
      maxMs?: number;
    } = {},
  ): Promise<Scene> {
    const scene = new Scene(limits, maxMs);
    scene.session = await scene.app.open(version);
    return scene;
  }

  async call(id: number): Promise<Connection> {
    const pending = this.app.post({
      jsonrpc: "2.0",
      id,
      method: "tools/call",
      params: { name: "x", _meta: { progressToken: id } },
    }, this.session.headers);
    await settle();
    await this.pass(0);
    const connection = new Connection(await pending);
    await settle();
    return connection;
  }

  async get(lastEventId?: string): Promise<Connection> {
    const last = lastEventId === undefined ? {} : { "last-event-id": lastEventId };
    const headers = { ...EVENTS, ...this.session.headers, ...last };
    const connection = new Connection(await this.app.send("GET", { headers }));
    await settle();
    return connection;
  }

  async pass(ms: number): Promise<void> {
    await this.app.harness.clock.advance(ms);
  }

  async says(message: Record<string, unknown>): Promise<void> {
    this.session.backend.says(message);
    await settle();
  }

  progress(id: number, n: number): Promise<void> {
    return this.says({ method: "notifications/progress", params: { progressToken: id, progress: n, n } });
  }

  tell(n: number): Promise<void> {
    return this.says({ method: "notifications/tools/list_changed", params: { n } });
  }
}

Deno.test("A response ends after STREAM_MAX_MS, not before, and says when to come back; the call goes on", async () => {
  const scene = await Scene.open();
  const first = await scene.call(1);
  await scene.progress(1, 1);
  await scene.pass(MAX_MS - 1);
  assertEquals([first.ended, first.retries], [false, []]);
  await scene.pass(1);
  assertEquals([first.ended, first.retries, first.words], [true, [String(RETRY_MS)], [1]]);
  assertEquals(scene.session.session.inFlight, 1);
  await scene.progress(1, 2);
  const second = await scene.get(first.lastId);
  await scene.progress(1, 3);
  await scene.pass(MAX_MS);
  assertEquals([second.ended, second.words], [true, [2, 3]]);
  // Nothing came meanwhile: the next connection has an id to come back with all the same.
  const third = await scene.get(second.lastId);
  assertEquals(third.events, [{ id: second.lastId, retry: String(RETRY_MS), data: "" }]);
  await scene.pass(MAX_MS);
  const fourth = await scene.get(third.lastId);
  await scene.says({ id: 1, result: { n: 4 } });
  assertEquals([fourth.ended, fourth.words, fourth.retries], [true, [4], []]);
  assertEquals(scene.session.session.inFlight, 0);
  await scene.app.stop();
});

Deno.test("Who comes back for a stream that is over and has all of it gets 204, and need not come again", async () => {
  const scene = await Scene.open();
  const call = await scene.call(1);
  await scene.says({ id: 1, error: { code: -1, message: "no" } });
  const headers = { ...EVENTS, ...scene.session.headers, "last-event-id": call.lastId };
  const response = await scene.app.send("GET", { headers });
  assertEquals([response.status, await response.text()], [204, ""]);
  await scene.app.stop();
});

Deno.test("A keep-alive that is due earlier comes as without a limit", async () => {
  const scene = await Scene.open();
  const pending = await scene.app.send("GET", { headers: { ...EVENTS, ...scene.session.headers } });
  const text = pending.text();
  await scene.pass(MAX_MS);
  const comments = (await text).split("\n").filter((line) => line.startsWith(":")).length;
  assertEquals(comments, MAX_MS / 15_000 - 1);
  await scene.app.stop();
});

for (const version of ["2024-11-05", "2025-03-26", "2025-06-18"]) {
  Deno.test(`Responses of a ${version} session are never ended: its client cannot resume`, async () => {
    const scene = await Scene.open({ version, limits: { idleTtlMs: 100 * MAX_MS } });
    const [call, standalone] = [await scene.call(1), await scene.get()];
    await scene.pass(10 * MAX_MS);
    assertEquals([call.ended, standalone.ended], [false, false]);
    await scene.app.stop();
  });
}

Deno.test("Without STREAM_MAX_MS no response is ended", async () => {
  const scene = await Scene.open({ maxMs: 0, limits: { idleTtlMs: 100 * MAX_MS } });
  const [call, standalone] = [await scene.call(1), await scene.get()];
  await scene.pass(10 * MAX_MS);
  assertEquals([call.ended, standalone.ended], [false, false]);
  await scene.app.stop();
});

Deno.test("What the server says while its client is away comes when it is back, once and in order", async () => {
  const scene = await Scene.open();
  const standalone = await scene.get();
  await scene.tell(1);
  await scene.pass(MAX_MS);
  for (const n of [2, 3]) await scene.tell(n);
  const back = await scene.get(standalone.lastId);
  await scene.tell(4);
  assertEquals([standalone.words, back.words], [[1], [2, 3, 4]]);
  await scene.app.stop();
});

Deno.test("A question that came while the only client's stream was away goes out on the call that comes back", async () => {
  const scene = await Scene.open();
  const call = await scene.call(1);
  await scene.pass(MAX_MS);
  await scene.says({ id: "ask", method: "elicitation/create", params: { n: 1 } });
  const back = await scene.get(call.lastId);
  assertEquals(back.messages.map(({ id, method }) => [id, method]), [["ask", "elicitation/create"]]);
  await scene.app.stop();
});

Deno.test("A person may think about a question across connections that are ended on purpose", async () => {
  const limits = { clientReplyTimeoutMs: 90_000, requestTimeoutMs: 600_000 };
  const scene = await Scene.open({ limits });
  let standalone = await scene.get();
  const call = await scene.call(1);
  await call.hangUp();
  await scene.says({ id: "ask", method: "elicitation/create", params: { n: 1 } });
  assertEquals(standalone.messages.length, 1);
  for (let minutes = 0; minutes < 5; minutes++) {
    await scene.pass(MAX_MS);
    assertEquals(standalone.ended, true);
    standalone = await scene.get(standalone.lastId);
  }
  const refused = scene.session.backend.received.filter(({ kind }) => kind === "response");
  assertEquals(refused, []);
  await scene.app.stop();
});

Deno.test("A session whose deadline comes while its client is on the way back is not over: it is asked", async () => {
  const scene = await Scene.open({ limits: { idleTtlMs: MAX_MS + 500, sseAfterMs: 1_000 } });
  const standalone = await scene.get();
  await scene.pass(MAX_MS);
  assertEquals(standalone.ended, true);
  await scene.pass(RETRY_MS);
  assertEquals(scene.session.session.state, "active");
  const back = await scene.get(standalone.lastId);
  const ping = back.messages.find(({ method }) => method === "ping")!;
  await scene.app.post({ jsonrpc: "2.0", id: ping.id, result: {} }, scene.session.headers);
  await scene.pass(MAX_MS);
  assertEquals(scene.session.session.state, "active");
  await scene.app.stop();
});

Deno.test("A client that never comes back keeps its session no longer than one that does not answer", async () => {
  const scene = await Scene.open({ limits: { idleTtlMs: MAX_MS + 500, sseAfterMs: 1_000 } });
  await scene.get();
  await scene.pass(MAX_MS + 500 + 10_000);
  assertEquals(scene.session.session.expired, true);
  await scene.app.stop();
});

Deno.test("A session that ends while its client is away leaves nothing behind", async () => {
  const scene = await Scene.open();
  const [call, standalone] = [await scene.call(1), await scene.get()];
  await scene.pass(MAX_MS);
  assertEquals([call.ended, standalone.ended], [true, true]);
  await scene.app.send("DELETE", { headers: scene.session.headers });
  await settle();
  assertEquals([scene.session.session.held, scene.app.harness.clock.pending], [0, 0]);
  await scene.app.stop();
});
