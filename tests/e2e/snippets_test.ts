/**
 * The three client snippets of the session-cleanup document, run as written: copied below character by
 * character, with only the URL, the session's id and the interval of the heartbeat filled in.
 *
 * @module
 */
import { assert, assertArrayIncludes, assertEquals, assertNotEquals } from "@std/assert";
import { eventually } from "../fakes/eventually.ts";
import { FIRST_START_MS, Gateway } from "./gateway.ts";
import { messagesOf, RawSession } from "./raw_client.ts";

const SNIPPET_URL = "http://localhost:3000/mcp/filesystem";

const HEARTBEAT = `
// 每 2 分钟发送一次心跳
setInterval(async () => {
  try {
    await fetch('http://localhost:3000/mcp/filesystem', {
      method: 'POST',
      headers: {
        'mcp-session-id': sessionId,
        'Accept': 'application/json, text/event-stream',
        'Content-Type': 'application/json'
      },
      body: JSON.stringify({
        jsonrpc: '2.0',
        id: Date.now(),
        method: 'ping',
        params: {}
      })
    });
  } catch (error) {
    console.error('Heartbeat failed:', error);
  }
}, 2 * 60 * 1000);
`;

const RETRY = `
async function callMCP(sessionId, method, params) {
  try {
    const response = await fetch('http://localhost:3000/mcp/filesystem', {
      method: 'POST',
      headers: {
        'mcp-session-id': sessionId,
        'Accept': 'application/json, text/event-stream'
      },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params })
    });

    if (response.status === 404) {
      // Session 过期，创建新的
      console.log('Session expired, creating new session...');
      const newResponse = await fetch('http://localhost:3000/mcp/filesystem', {
        method: 'POST',
        headers: { 'Accept': 'application/json, text/event-stream' },
        body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params })
      });
      const newSessionId = newResponse.headers.get('mcp-session-id');
      return { response: newResponse, sessionId: newSessionId };
    }

    return { response, sessionId };
  } catch (error) {
    console.error('MCP call failed:', error);
    throw error;
  }
}
`;

const CLEANUP = `
async function cleanup(sessionId) {
  try {
    await fetch(\`http://localhost:3000/mcp/filesystem\`, {
      method: 'DELETE',
      headers: {
        'mcp-session-id': sessionId,
        'Authorization': 'Bearer your-token'
      }
    });
    console.log('Session closed successfully');
  } catch (error) {
    console.error('Failed to close session:', error);
  }
}
`;

type CallMcp = (
  sessionId: string,
  method: string,
  params: Record<string, unknown>,
) => Promise<{ response: Response; sessionId: string }>;

/**
 * The world of one snippet: the real `fetch` and `setInterval`, watched so that nothing outlives the test.
 */
class Snippet implements AsyncDisposable {
  /** What it printed with `console.log` and `console.error`. */
  readonly printed: string[] = [];
  /** What `fetch` gave it. */
  readonly responses: Response[] = [];
  readonly #timers: ReturnType<typeof setInterval>[] = [];
  readonly #fetches = new Set<Promise<Response>>();

  /**
   * Runs the code.
   *
   * @param given Variables that it finds, by name.
   * @param name What it defines and the test wants; nothing unless given.
   */
  run<T>(code: string, given: Record<string, unknown>, name?: string): T {
    const print = (...args: unknown[]) => void this.printed.push(args.join(" "));
    const world = {
      ...given,
      console: { log: print, error: print },
      fetch: (...args: Parameters<typeof fetch>) => {
        const response = fetch(...args).then((response) => {
          this.responses.push(response);
          return response;
        });
        this.#fetches.add(response);
        return response;
      },
      setInterval: (callback: () => void, ms: number) => this.#timers.push(setInterval(callback, ms)),
    };
    const body = name === undefined ? code : `${code}\nreturn ${name};`;
    return new Function(...Object.keys(world), body)(...Object.values(world));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    await Promise.allSettled(this.#fetches);
    // The snippets leave bodies unread.
    for (const { body } of this.responses) if (body !== null && !body.locked) await body.cancel();
  }
}

/** The snippet with the real URL. */
function at(gateway: Gateway, snippet: string): string {
  assert(snippet.includes(SNIPPET_URL));
  return snippet.replaceAll(SNIPPET_URL, gateway.url("filesystem"));
}

Deno.test("The heartbeat snippet keeps its session while a twin without it expires", async () => {
  const ttlMs = 2_000;
  await using gateway = await Gateway.start({
    servers: "committed",
    env: { STREAM_SESSION_TTL_MS: String(ttlMs), LOG_LEVEL: "debug" },
  });
  const kept = await RawSession.open(gateway, "filesystem");
  await using snippet = new Snippet();
  const everyMs = ttlMs / 8;
  snippet.run(at(gateway, HEARTBEAT).replace("2 * 60 * 1000", String(everyMs)), { sessionId: kept.id });
  const twin = await RawSession.open(gateway, "filesystem");

  await gateway.waitForLine(/Session \w+ of server filesystem ended: idle/, FIRST_START_MS);
  assertEquals(await twin.ping(), 404);
  // Two and a half times as long as a silent session lives.
  await eventually(() => snippet.responses.length >= 20, "20 heartbeats");
  assertEquals(new Set(snippet.responses.map(({ status }) => status)), new Set([200]));
  assertEquals(snippet.printed, []);
  assertEquals(await kept.ping(), 200);
  assertEquals(gateway.children().length, 1);
});

Deno.test("The retry snippet gets 404 for a session that is gone and a new session that works", async () => {
  await using gateway = await Gateway.start({ servers: "committed" });
  const old = await RawSession.open(gateway, "filesystem");
  assertEquals(await old.delete(), 204);
  await using snippet = new Snippet();
  const callMCP: CallMcp = snippet.run(at(gateway, RETRY), {}, "callMCP");

  const first = await callMCP(old.id, "tools/list", {});
  assertEquals(snippet.responses.map(({ status }) => status), [404, 200]);
  assertEquals(snippet.printed, ["Session expired, creating new session..."]);
  assertNotEquals(first.sessionId, old.id);
  assertArrayIncludes(await toolNames(first.response), ["read_text_file"]);

  const second = await callMCP(first.sessionId, "tools/list", {});
  assertEquals(second.sessionId, first.sessionId);
  assertEquals(second.response.status, 200);
  assertArrayIncludes(await toolNames(second.response), ["read_text_file"]);
  assertEquals(snippet.responses.length, 3);
  await gateway.waitForChildren(1);
});

Deno.test("The clean-up snippet ends its session and the server behind it", async () => {
  await using gateway = await Gateway.start({ servers: "committed" });
  const session = await RawSession.open(gateway, "filesystem");
  assertEquals(gateway.children().length, 1);
  await using snippet = new Snippet();
  const cleanup: (sessionId: string) => Promise<void> = snippet.run(at(gateway, CLEANUP), {}, "cleanup");

  await cleanup(session.id);
  assertEquals(snippet.printed, ["Session closed successfully"]);
  assertEquals(snippet.responses.map(({ status }) => status), [204]);
  assertEquals(await session.ping(), 404);
  await gateway.waitForChildren(0);
  await gateway.waitForLine(/Session \w+ of server filesystem ended: client_delete/);
});

async function toolNames(response: Response): Promise<unknown[]> {
  const messages = messagesOf(await response.text(), response.headers.get("content-type"));
  const tools = messages.at(-1)?.result?.tools as { name: string }[];
  return tools.map(({ name }) => name);
}
