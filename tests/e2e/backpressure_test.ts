/**
 * Clients that do not read, servers that do not read, servers that flood: what each of them costs.
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { eventually } from "../fakes/eventually.ts";
import { fixture } from "../fixtures/mod.ts";
import { assertNoneLeft, Gateway, type GatewayOptions, passMs } from "./gateway.ts";
import { post, RawSession } from "./raw_client.ts";

const MIB = 1024 * 1024;
const FLOOD_BYTES = 200 * MIB;
const STALL_MS = 4_000;
/** What the gateway may grow by for a client that does not read: the bound, and the garbage of getting there. */
const MAX_GROWTH_BYTES = 40 * MIB;
/** And while all of a flood goes through it to nobody: garbage between two collections, however long the flood. */
const MAX_GARBAGE_BYTES = 190 * MIB;
/** How long an echo may take beside a flood, on a busy machine of two cores. */
const MAX_ECHO_MS = 5_000;

async function start(env: Record<string, string> = {}): Promise<Gateway> {
  const servers = {
    flooder: { ...fixture("flooder"), stateful: true },
    echo: fixture("echo_server"),
  } as unknown;
  return await Gateway.start({
    servers: servers as NonNullable<Exclude<GatewayOptions["servers"], "committed">>,
    env: { STREAM_STALL_MS: String(STALL_MS), ...env },
  });
}

/** A client on a bare connection, which reads only when it is told to. */
class RawConnection implements Disposable {
  readonly #socket: Deno.TcpConn;

  private constructor(socket: Deno.TcpConn) {
    this.#socket = socket;
  }

  /** Connects and sends a text, whole. */
  static async open(gateway: Gateway, text: string): Promise<RawConnection> {
    const { hostname, port } = new URL(gateway.origin);
    const connection = new RawConnection(await Deno.connect({ hostname, port: Number(port) }));
    await connection.write(text);
    return connection;
  }

  async write(text: string): Promise<void> {
    const bytes = new TextEncoder().encode(text);
    for (let sent = 0; sent < bytes.byteLength;) sent += await this.#socket.write(bytes.subarray(sent));
  }

  /** Reads what there is, at most so many bytes; empty at the end. */
  async read(maxBytes = 64 * 1024): Promise<string> {
    const bytes = new Uint8Array(maxBytes);
    const count = await this.#socket.read(bytes);
    return count === null ? "" : new TextDecoder().decode(bytes.subarray(0, count));
  }

  /** Reads to the end of the response, which is a stream, and returns how many bytes came. */
  async drain(): Promise<number> {
    let [bytes, tail] = [0, ""];
    while (!tail.endsWith("\r\n0\r\n\r\n")) {
      const text = await this.read();
      assert(text !== "", "the connection broke off");
      bytes += text.length;
      tail = (tail + text).slice(-20);
    }
    return bytes;
  }

  [Symbol.dispose](): void {
    this.#socket.close();
  }
}

/** A request's head, to the server of a session. */
function head(method: string, server: string, session: RawSession | undefined, more = ""): string {
  const id = session === undefined ? "" : `mcp-session-id: ${session.id}\r\n`;
  return `${method} /mcp/${server} HTTP/1.1\r\nhost: 127.0.0.1\r\n${id}content-type: application/json\r\n` +
    `accept: application/json, text/event-stream\r\n${more}\r\n`;
}

function withBody(
  method: string,
  server: string,
  session: RawSession,
  message: Record<string, unknown>,
): string {
  const body = JSON.stringify({ jsonrpc: "2.0", ...message });
  return head(method, server, session, `content-length: ${body.length}\r\n`) + body;
}

function call(name: string, args: Record<string, unknown>): Record<string, unknown> {
  return { id: "call", method: "tools/call", params: { name, arguments: args } };
}

function rssOf(gateway: Gateway): number {
  return Number(/VmRSS:\s+(\d+)/.exec(Deno.readTextFileSync(`/proc/${gateway.pid}/status`))![1]) * 1024;
}

/** Looks at the gateway's memory and asks another session for an echo, again and again until it is stopped. */
class Observer {
  readonly #gateway: Gateway;
  readonly #before: number;
  readonly #done: Promise<void>;
  #stopped = false;
  /** By how much the gateway's memory grew at most. */
  grownBytes = 0;
  slowestEchoMs = 0;
  echoes = 0;

  constructor(gateway: Gateway, other: RawSession) {
    this.#gateway = gateway;
    this.#before = rssOf(gateway);
    this.#done = this.#run(other);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#done;
    const { echoes, slowestEchoMs } = this;
    assert(slowestEchoMs < MAX_ECHO_MS, `the slowest of ${echoes} echoes took ${slowestEchoMs} ms`);
  }

  async #run(other: RawSession): Promise<void> {
    while (!this.#stopped) {
      const startMs = performance.now();
      assertEquals(await other.text("echo", { message: "hi" }), "hi");
      this.slowestEchoMs = Math.max(this.slowestEchoMs, performance.now() - startMs);
      this.grownBytes = Math.max(this.grownBytes, rssOf(this.#gateway) - this.#before);
      this.echoes++;
      await passMs(20);
    }
  }
}

/** How a client that reads nothing is sent what the server floods it with. */
const FLOODED: [what: string, freeze: (gateway: Gateway, session: RawSession) => Promise<RawConnection>][] = [
  ["standalone stream", async (gateway, session) => {
    const frozen = await RawConnection.open(gateway, head("GET", "flooder", session));
    assertStringIncludes(await frozen.read(), "200 OK");
    const { status } = await session.call("flood", { bytes: FLOOD_BYTES, first: true });
    assertEquals(status, 200);
    return frozen;
  }],
  [
    "stream of a request",
    async (gateway, session) =>
      await RawConnection.open(
        gateway,
        withBody("POST", "flooder", session, call("flood", { bytes: FLOOD_BYTES })),
      ),
  ],
];
for (const [what, freeze] of FLOODED) {
  Deno.test(`A ${what} that nobody reads stops its server, is cut in time, and costs nobody else anything`, async () => {
    await using gateway = await start();
    const session = await RawSession.open(gateway, "flooder");
    const other = await RawSession.open(gateway, "echo");
    for (let i = 0; i < 50; i++) await other.text("echo", { message: "warm" });
    const observer = new Observer(gateway, other);
    using frozen = await freeze(gateway, session);

    await passMs(STALL_MS / 2);
    assertEquals(gateway.linesLike(/cut a stream/), []);
    assert(observer.grownBytes < MAX_GROWTH_BYTES, `grew by ${observer.grownBytes / MIB} MiB`);
    const line = await gateway.waitForLine(/cut a stream/);
    const [, handle, stalledMs, bytes] =
      /Session ([0-9a-f]{12}): cut a stream, nothing was read for (\d+) ms and (\d+) bytes/.exec(line)!;
    assert(handle !== undefined && Number(stalledMs) >= STALL_MS && Number(stalledMs) < 3 * STALL_MS, line);
    assert(Number(bytes) > 4 * MIB && Number(bytes) < 5 * MIB, line);

    // The flood goes on, to nobody, and the server listens again.
    assertEquals(await session.ping(), 200);
    await observer.stop();
    assert(observer.grownBytes < MAX_GARBAGE_BYTES, `grew by ${observer.grownBytes / MIB} MiB`);
    // What was on its way when the reader stopped is all that it gets.
    assert(await frozen.drain() < 16 * MIB);
    assertEquals(gateway.linesLike(/cut a stream/).length, 1);
    for (const each of [session, other]) assertEquals(await each.delete(), 204);
    await assertNoneLeft(gateway);
  });
}

Deno.test("A reader that goes on in time gets everything, in order and whole", async () => {
  await using gateway = await start({ STREAM_STALL_MS: "30000" });
  const session = await RawSession.open(gateway, "flooder");
  const bytes = 24 * MIB;
  using reader = await RawConnection.open(
    gateway,
    withBody("POST", "flooder", session, call("flood", { bytes })),
  );
  await passMs(1_500);
  let [text, events] = ["", 0];
  while (!text.includes('"id":"call"')) {
    const more = await reader.read(MIB);
    assert(more !== "", "the stream ended early");
    events += (text.slice(-20) + more).split('"notifications/message"').length - 1;
    text = text.slice(-2_000) + more;
  }
  assert(events >= Math.floor(bytes / 1_100), `${events} events`);
  assertEquals(gateway.linesLike(/cut a stream/), []);
  assertEquals(await session.delete(), 204);
});

Deno.test("Large answers that nobody reads cost one answer in each session, and are cut in time", async () => {
  await using gateway = await start();
  const other = await RawSession.open(gateway, "echo");
  const session = await RawSession.open(gateway, "echo");
  await session.call("big", { bytes: 16 * MIB });
  const before = rssOf(gateway);
  const connections: RawConnection[] = [];
  for (let n = 0; n < 12; n++) {
    const message = { ...call("big", { bytes: 16 * MIB }), id: `big${n}` };
    connections.push(await RawConnection.open(gateway, withBody("POST", "echo", session, message)));
  }
  let grown = 0;
  for (let n = 0; n < 20; n++) {
    assertEquals(await other.text("echo", { message: "hi" }), "hi");
    grown = Math.max(grown, rssOf(gateway) - before);
    await passMs(100);
  }
  // All twelve together are 192 MiB. One is text, bytes and the copy that is parsed.
  assert(grown < 100 * MIB, `grew by ${grown / MIB} MiB`);
  await gateway.waitForLine(/cut a stream, nothing was read for \d+ ms and 1\d{7} bytes/);
  connections.forEach((connection) => connection[Symbol.dispose]());
  await eventually(() => gateway.linesLike(/cut a stream/).length >= 1, "the cut");
  // Answers to those that hung up meanwhile are dropped, and stop nobody.
  assertEquals(await session.text("echo", { message: "still here" }), "still here");
  assertEquals(gateway.stderr, []);
});

Deno.test("A session ends in good order while its server is stopped: by DELETE, and by the server's exit", async () => {
  await using gateway = await start({ STREAM_STALL_MS: "600000" });
  const [deleted, left] = [
    await RawSession.open(gateway, "flooder"),
    await RawSession.open(gateway, "flooder"),
  ];
  using _one = await RawConnection.open(
    gateway,
    withBody("POST", "flooder", deleted, call("flood", { bytes: FLOOD_BYTES })),
  );
  // It exits right when the pipe has taken its last words, and by then the reader has stopped.
  using _two = await RawConnection.open(
    gateway,
    withBody("POST", "flooder", left, call("flood", { bytes: 12 * MIB, exit: true })),
  );
  await passMs(1_500);
  assertEquals((await gateway.waitForChildren(2)).length, 2);
  assertEquals(await deleted.delete(), 204);
  await gateway.waitForLine(/ended: client_delete/);
  await gateway.waitForChildren(1);
  const [survivor] = gateway.children();
  Deno.kill(survivor!.pid, "SIGKILL");
  await gateway.waitForLine(/ended: backend_exit/, 5_000);
  await assertNoneLeft(gateway);
});

Deno.test("A server that never reads bounds what is queued to it: from 8 MiB on it is busy", async () => {
  await using gateway = await start();
  const session = await RawSession.open(gateway, "flooder");
  const other = await RawSession.open(gateway, "echo");
  const observer = new Observer(gateway, other);
  assertEquals((await session.call("deafen", { bytes: 0 })).status, 200);
  const statuses: number[] = [];
  for (let n = 0; n < 40; n++) {
    statuses.push(await session.notify("notifications/x", { data: "x".repeat(MIB) }));
  }
  const taken = statuses.indexOf(503);
  assert(taken >= 8 && taken <= 12, `after ${taken} MiB`);
  assertEquals(new Set(statuses.slice(taken)), new Set([503]));
  await observer.stop();
  assert(observer.grownBytes < MAX_GARBAGE_BYTES, `grew by ${observer.grownBytes / MIB} MiB`);
  assertEquals(await session.delete(), 204);
});

Deno.test("A body over MAX_BODY_BYTES is refused before it is sent, and the client gets to know", async () => {
  await using gateway = await start({ MAX_BODY_BYTES: String(MIB) });
  const session = await RawSession.open(gateway, "echo");
  const before = rssOf(gateway);
  using early = await RawConnection.open(
    gateway,
    head("POST", "echo", session, "content-length: 300000000\r\n"),
  );
  const refusal = await early.read();
  assertStringIncludes(refusal, "HTTP/1.1 413 ");
  assertStringIncludes(refusal, "Body is too large: at most 1048576 bytes are taken");
  // A client that sends first and reads then, as fetch does; and one that says no length.
  const url = gateway.url("echo");
  for (const body of [new Uint8Array(64 * MIB), new Blob([new Uint8Array(64 * MIB)]).stream()]) {
    const response = await fetch(url, {
      method: "POST",
      body,
      headers: { "content-type": "application/json", "mcp-session-id": session.id },
    });
    assertEquals([response.status, (await response.json()).error.code], [413, -32000]);
  }
  assert(rssOf(gateway) - before < MAX_GROWTH_BYTES);
  assertEquals(await session.text("echo", { message: "x".repeat(MIB - 200) }), "x".repeat(MIB - 200));
});

Deno.test("A body that does not come is timed out with 408, whether its length is known or not", async () => {
  await using gateway = await start({ BODY_TIMEOUT_MS: "700" });
  const session = await RawSession.open(gateway, "echo");
  for (const length of ["content-length: 100\r\n\r\n{", "transfer-encoding: chunked\r\n\r\n1\r\n{\r\n"]) {
    const text = head("POST", "echo", session).slice(0, -2) + length;
    using slow = await RawConnection.open(gateway, text);
    const refusal = await slow.read();
    assertStringIncludes(refusal, "HTTP/1.1 408 ");
    assertStringIncludes(refusal, "Body did not come in time: it took more than 700 ms");
  }
  assertEquals(
    (await post(gateway.url("echo"), { id: 1, method: "ping" }, { sessionId: session.id })).status,
    200,
  );
});
