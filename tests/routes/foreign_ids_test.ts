/** Somebody else's session id is answered as one that nobody has: the same bytes, from the same steps. */
import { assertEquals, assertExists } from "@std/assert";
import { Access, digestOf } from "../../routes/access.ts";
import { createApp } from "../../routes/app.ts";
import { settle } from "../fakes/fake_clock.ts";
import { Harness, SERVER } from "../fakes/harness.ts";

const bearer = (name: string) => ({ authorization: `Bearer ${name}` });
const INITIALIZE = {
  jsonrpc: "2.0",
  id: 1,
  method: "initialize",
  params: { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: { name: "t", version: "1" } },
};

/** The application for `ann` and `bob`, and what it looks up for a request. */
function start() {
  const harness = new Harness();
  const { clock, supervisor } = harness;
  const token = (principal: string) => ({
    principal,
    digest: digestOf(principal),
    servers: undefined,
    expiresAtMs: undefined,
  });
  const access = new Access({
    clock,
    tokenRequired: true,
    tokens: [token("ann"), token("bob")],
    allowedOrigins: [],
    allowedHosts: [],
    onLoopback: true,
  });
  const app = createApp({ access, supervisor, clock, implicitSessions: true });
  const steps: string[] = [];
  const watch = <Key extends string>(target: Record<Key, unknown>, name: Key) => {
    const original = target[name] as (...args: unknown[]) => unknown;
    target[name] = ((...args: unknown[]) => {
      steps.push(name);
      return original.apply(target, args);
    }) as typeof target[Key];
  };
  const send = async (who: string, method: string, body: unknown, id?: string) => {
    steps.length = 0;
    const response = await app(
      new Request(`http://localhost/mcp/${SERVER}`, {
        method,
        headers: {
          accept: "application/json, text/event-stream",
          "content-type": "application/json",
          ...bearer(who),
          ...(id !== undefined && { "mcp-session-id": id }),
        },
        ...(body !== undefined && { body: JSON.stringify(body) }),
      }),
    );
    const bytes = new Uint8Array(await response.arrayBuffer());
    return { response, told: [response.status, [...response.headers], bytes, steps.join()] };
  };
  const open = async () => {
    const { response } = await send("ann", "POST", INITIALIZE);
    const id = response.headers.get("mcp-session-id");
    assertExists(id);
    return id;
  };
  watch(supervisor as unknown as Record<"find" | "notFound" | "open", unknown>, "find");
  watch(supervisor as unknown as Record<"notFound", unknown>, "notFound");
  watch(supervisor as unknown as Record<"open", unknown>, "open");
  watch(supervisor.tombstones as unknown as Record<"get", unknown>, "get");
  return { harness, send, open };
}

// [method, what is sent].
const REQUESTS: [string, unknown][] = [
  ["POST", { jsonrpc: "2.0", id: 7, method: "tools/list" }],
  ["POST", { jsonrpc: "2.0", id: "a", method: "ping" }],
  ["POST", { jsonrpc: "2.0", method: "notifications/x" }],
  ["POST", { jsonrpc: "2.0", id: 7, result: {} }],
  ["POST", [{ jsonrpc: "2.0", id: 7, method: "ping" }]],
  ["POST", { not: "a message" }],
  ["GET", undefined],
  ["DELETE", undefined],
];

Deno.test("Somebody else's session id, of a session that lives, expired or ended, is answered as an unknown one", async () => {
  const { harness, send, open } = start();
  const { clock, supervisor } = harness;
  const expired = await open();
  await clock.advance(harness.limits.idleTtlMs);
  const [living, ended] = [await open(), await open()];
  void supervisor.find(SERVER, ended, "ann")!.end("client_delete");
  await settle();
  assertEquals(supervisor.find(SERVER, expired, "ann")?.expired, true);
  assertEquals(supervisor.find(SERVER, ended, "ann"), undefined);
  for (const [method, body] of REQUESTS) {
    const what = `${method} ${JSON.stringify(body)}`;
    const unknown = await send("bob", method, body, crypto.randomUUID());
    for (const [state, id] of Object.entries({ living, expired, ended })) {
      const foreign = await send("bob", method, body, id);
      assertEquals(foreign.told, unknown.told, `${what} of one that is ${state}`);
    }
  }
  // None of that was noticed: it is still ann's, and idle.
  assertEquals((await send("ann", "POST", REQUESTS[0]![1], ended)).response.status, 404);
  const done = supervisor.shutDown(0);
  await clock.advance(1);
  await done;
});

Deno.test("What is looked up for a foreign id is one session and one tombstone, as for an unknown one", async () => {
  const { harness, send, open } = start();
  const living = await open();
  for (const id of [living, crypto.randomUUID()]) {
    const { told } = await send("bob", "POST", REQUESTS[0]![1], id);
    assertEquals([told[0], told[3]], [404, "find,notFound,get"]);
  }
  const done = harness.supervisor.shutDown(0);
  await harness.clock.advance(1);
  await done;
});
