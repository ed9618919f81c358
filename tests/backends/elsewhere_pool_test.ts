/**
 * What is known to go wrong with pools of servers in other gateways, and does not here. The README has the table.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import type { Backend } from "../../backends/backend.ts";
import { ASKED_VERSION } from "../../backends/initialized_child.ts";
import { PrewarmSource } from "../../backends/prewarm.ts";
import { SharedSource } from "../../backends/shared.ts";
import type { BackendSource, SourceOptions } from "../../backends/source.ts";
import { SpawnGate } from "../../backends/spawn_gate.ts";
import {
  encodeNotification,
  encodeRequest,
  type Message,
  type RequestMessage,
} from "../../protocol/jsonrpc.ts";
import { FakeBackend } from "../fakes/fake_backend.ts";
import { FakeClock, settle } from "../fakes/fake_clock.ts";

const PREWARM = 2;
const MAX_AGE_MS = 10_000;

/** A client of a pool: its backend, what it heard, and who serves it. */
interface Client {
  readonly name: string;
  readonly backend: Backend;
  readonly heard: Message[];
  readonly child: FakeBackend;
}

/** A pool over fakes. */
class Pool {
  readonly clock = new FakeClock();
  /** Every child that was ever started. */
  readonly children: FakeBackend[] = [];
  readonly source: BackendSource;

  constructor(sourceOf: (options: SourceOptions) => BackendSource) {
    this.source = sourceOf({
      serverId: "fake",
      gate: new SpawnGate({ concurrency: 4, clock: this.clock }),
      clock: this.clock,
      startTimeoutMs: 1_000,
      open: (owner, events) => {
        const child = new FakeBackend(owner, events, { autoInitialize: true });
        this.children.push(child);
        return child;
      },
    });
    this.source.start();
  }

  /** Children that were not given back, whether they live or not. */
  get held(): FakeBackend[] {
    return this.children.filter(({ closed }) => !closed);
  }

  /** A client comes, is greeted and says something, which shows who serves it. */
  async open(name: string): Promise<Client> {
    const heard: Message[] = [];
    const backend = this.source.open({ serverId: "fake", session: name }, {
      message: (message) => heard.push(message),
      garbage() {},
      exit() {},
    });
    const clientInfo = { name, version: "1" };
    const params = { protocolVersion: ASKED_VERSION, capabilities: {}, clientInfo };
    backend.send(encodeRequest(name, "initialize", params));
    await settle();
    assertEquals(heard.map((message) => message.kind === "response" && message.id), [name]);
    backend.send(encodeRequest(`${name}'s first`, "first", { name }));
    await settle();
    const child = this.children.find((child) =>
      requestsTo(child, "first").some(({ params }) => params?.name === name)
    );
    return { name, backend, heard, child: child! };
  }
}

/** The requests of a method that reached a child. */
function requestsTo({ received }: FakeBackend, method: string): RequestMessage[] {
  return received.filter((message) =>
    message.kind === "request" && message.method === method
  ) as RequestMessage[];
}

function prewarmed(options: SourceOptions): PrewarmSource {
  return new PrewarmSource({ ...options, prewarm: PREWARM, prewarmMaxAgeMs: MAX_AGE_MS, random: () => 0 });
}

Deno.test("metamcp#324: children that were started ahead are given back at each refresh, use and death", async () => {
  const pool = new Pool(prewarmed);
  await settle();
  const isFull = (what: string) =>
    assertEquals([pool.source.spare, pool.held.length], [PREWARM, PREWARM], what);
  isFull("at the start");
  for (let round = 1; round <= 50; round++) {
    await pool.clock.advance(MAX_AGE_MS);
    isFull(`after refresh ${round}`);
  }
  assertEquals(pool.children.length, 51 * PREWARM);
  for (let round = 1; round <= 50; round++) {
    const { backend } = await pool.open(`client ${round}`);
    await pool.clock.advance(1);
    assertEquals(pool.held.length, PREWARM + 1, "the client's, and its successor");
    await backend.close();
    isFull(`after client ${round}`);
  }
  for (let round = 1; round <= 10; round++) {
    pool.held[0]!.exit();
    // It is waited before the next one is started, and that one has to serve before there are more.
    await pool.clock.advance(2_000);
    assert(pool.held.length <= PREWARM);
    const { backend } = await pool.open(`client after death ${round}`);
    await pool.clock.advance(1);
    await backend.close();
    isFull(`after death ${round}`);
  }
  await pool.source.close();
  assertEquals([pool.held.length, pool.source.spare, pool.clock.pending], [0, 0, 0]);
});

Deno.test("ContextForge#2055: a child that was started ahead serves one session and no other after it", async () => {
  const pool = new Pool(prewarmed);
  await settle();
  const served: FakeBackend[] = [];
  for (let round = 1; round <= 20; round++) {
    // Two at a time, one of whom leaves before the next two come.
    const [ann, bob] = [await pool.open(`ann ${round}`), await pool.open(`bob ${round}`)];
    for (const { name, child } of [ann, bob]) {
      assert(!served.includes(child), `${name} got a child that served somebody else`);
      served.push(child);
      // It learned of nobody else.
      assertEquals(requestsTo(child, "first").map(({ params }) => params), [{ name }]);
    }
    ann.child.says({ method: "notifications/message", params: { data: "for Ann" } });
    assertEquals([ann.heard.length, bob.heard.length], [2, 1]);
    await ann.backend.close();
    assert(ann.child.closed);
    await pool.clock.advance(1);
  }
  assertEquals(served.filter(({ closed }) => !closed).length, 20, "those of the ones that stayed");
  await pool.source.close();
  for (const child of served) await child.close();
  assertEquals([pool.held.length, pool.clock.pending], [0, 0]);
});

Deno.test("ContextForge#2055: of a child that sessions share each hears its own, and cancels nobody else's call", async () => {
  const pool = new Pool((options) => new SharedSource({ ...options, shared: 1 }));
  const [ann, bob] = [await pool.open("ann"), await pool.open("bob")];
  assertEquals([pool.children.length, ann.child === bob.child], [1, true]);
  const [child] = pool.children as [FakeBackend];
  for (const { id, params } of requestsTo(child, "first")) child.answer(id, { for: params?.name });
  // Both want to hear everything.
  for (const { backend } of [ann, bob]) {
    backend.send(encodeRequest(6, "logging/setLevel", { level: "debug" }));
  }
  await settle();
  for (const { id } of requestsTo(child, "logging/setLevel")) child.answer(id);
  await settle();
  const answers = ({ heard }: Client) =>
    heard.flatMap((message) => message.kind === "response" ? [[message.id, message.result?.for]] : []);
  assertEquals(answers(ann), [["ann", undefined], ["ann's first", "ann"], [6, undefined]]);
  assertEquals(answers(bob), [["bob", undefined], ["bob's first", "bob"], [6, undefined]]);
  const since = new Map([ann, bob].map((client) => [client, client.heard.length]));
  const news = (client: Client) => client.heard.slice(since.get(client));

  // The same id and the same token.
  for (const { name, backend } of [ann, bob]) {
    backend.send(encodeRequest(7, "tools/call", { name, _meta: { progressToken: "t" } }));
  }
  await settle();
  const [anns, bobs] = requestsTo(child, "tools/call") as [RequestMessage, RequestMessage];
  assert(anns.id !== bobs.id);
  const tokenOf = ({ params }: RequestMessage) => (params!._meta as { progressToken: unknown }).progressToken;
  assert(tokenOf(anns) !== tokenOf(bobs));
  child.says({ method: "notifications/progress", params: { progressToken: tokenOf(bobs), progress: 1 } });
  // Nobody can tell whose this is, so nobody gets it.
  child.says({ method: "notifications/message", params: { level: "info", data: "a secret of one of them" } });
  await settle();
  assertEquals([news(ann).length, news(bob).map((message) => message.kind)], [0, ["notification"]]);

  // Ann changes her mind, and then tries it with ids that are not hers.
  for (const requestId of [7, bobs.id]) {
    ann.backend.send(encodeNotification("notifications/cancelled", { requestId }));
  }
  await settle();
  const cancelled = child.received.flatMap((message) =>
    message.kind === "notification" && message.method === "notifications/cancelled"
      ? [message.params?.requestId]
      : []
  );
  assertEquals(cancelled, [anns.id]);
  // One who leaves takes nothing along.
  await ann.backend.close();
  child.answer(bobs.id, { for: "bob" });
  child.answer(anns.id, { for: "ann" });
  await settle();
  assertEquals(news(ann), []);
  const last = news(bob).at(-1)!;
  assertEquals(last.kind === "response" && [last.id, last.result], [7, { for: "bob" }]);
  await bob.backend.close();
  await pool.source.close();
  assertEquals([pool.held.length, pool.source.spare, pool.clock.pending], [0, 0, 0]);
});
