/**
 * Many clients at once, none of which behaves.
 *
 * @module
 */
import { assert, assertArrayIncludes, assertEquals } from "@std/assert";
import { eventually } from "../fakes/eventually.ts";
import { fixture } from "../fixtures/mod.ts";
import { assertNoneLeft, Gateway, passMs } from "./gateway.ts";
import { post, RawSession } from "./raw_client.ts";

const ECHO = { echo: { ...fixture("echo_server") } };

/** So long that nothing comes of it within a test. */
const NEVER_MS = 600_000;

Deno.test("Twenty clients that come and go as they like leave nothing once their time is over", async () => {
  const seed = crypto.getRandomValues(new Uint32Array(1))[0]!;
  const random = randomOf(seed);
  await using gateway = await Gateway.start({
    servers: ECHO,
    env: { STREAM_SESSION_TTL_MS: "2000", IMPLICIT_TTL_MS: "2000", CLIENT_REPLY_TIMEOUT_MS: "500" },
  });
  try {
    const statuses = await Promise.all(Array.from({ length: 20 }, () => misbehave(gateway, random)));
    // Never a fault of the gateway's own. An expired session or one that the client just ended is fair.
    assertArrayIncludes([200, 202, 204, 404], [...new Set(statuses.flat())]);
    await gateway.waitForChildren(0, 40_000);
    const opened = gateway.linesLike(/Session \w+ of server echo opened/).length;
    assert(opened >= 20);
    await eventually(
      () => gateway.linesLike(/ended: (client_delete|idle|implicit) /).length === opened,
      "ends",
    );
    await assertNoneLeft(gateway);
    assertEquals(gateway.linesLike(/\bfault\b|\[ERROR\]/), []);
  } catch (error) {
    throw new Error(`With seed ${seed}: ${error instanceof Error ? error.message : error}`, { cause: error });
  }
});

/** A client that does this and that and leaves in one way or another. Returns the statuses that it got. */
async function misbehave(gateway: Gateway, random: (below: number) => number): Promise<number[]> {
  const url = gateway.url("echo");
  const statuses: number[] = [];
  let sessionId: string;
  if (random(4) === 0) {
    const answer = await post(url, { id: 1, method: "tools/list" });
    statuses.push(answer.status);
    sessionId = answer.sessionId!;
  } else {
    sessionId = (await RawSession.open(gateway, "echo", { initialized: random(2) === 0 })).id;
  }
  const call = (name: string, args: Record<string, unknown>, signal?: AbortSignal) =>
    post(url, { id: crypto.randomUUID(), method: "tools/call", params: { name, arguments: args } }, {
      sessionId,
      ...(signal && { signal }),
    });
  const headers = { accept: "text/event-stream", "mcp-session-id": sessionId };
  const deleted = async () => {
    const response = await fetch(url, { method: "DELETE", headers });
    await response.body?.cancel();
    return response.status;
  };

  for (let calls = random(4); calls > 0; calls--) {
    const answers = Array.from({ length: 1 + random(3) }, () => call("slow", { ms: random(200) }));
    statuses.push(...(await Promise.all(answers)).map(({ status }) => status));
  }
  const leave = [
    // In good order.
    async () => void statuses.push(await deleted()),
    // Without a word.
    () => {},
    // In the middle of an answer.
    async () => {
      const abort = new AbortController();
      const answer = call("slow", { ms: 1_000 }, abort.signal).catch(() => {});
      await passMs(random(100));
      abort.abort();
      await answer;
    },
    // With a call in flight, and the session too.
    async () => {
      const answer = call("slow", { ms: NEVER_MS });
      await passMs(random(100));
      statuses.push(await deleted());
      statuses.push((await answer).status);
    },
    // With a stream open and a question unanswered.
    async () => {
      const abort = new AbortController();
      const stream = fetch(url, { headers, signal: abort.signal });
      const asking = call("ask", {}, abort.signal).catch(() => {});
      await (await stream).body?.cancel();
      await passMs(random(100));
      abort.abort();
      await asking;
    },
    // In the middle of a request.
    async () => {
      const { hostname, port } = new URL(url);
      using socket = await Deno.connect({ hostname, port: Number(port) });
      const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "ping" });
      const request = `POST /mcp/echo HTTP/1.1\r\nHost: ${hostname}\r\nMcp-Session-Id: ${sessionId}\r\n` +
        `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
      await socket.write(new TextEncoder().encode(request.slice(0, random(request.length))));
    },
  ];
  await leave[random(leave.length)]!();
  return statuses;
}

/** Whole numbers from 0 on (mulberry32). */
function randomOf(seed: number): (below: number) => number {
  return (below) => {
    seed = (seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}
