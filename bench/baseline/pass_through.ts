/**
 * The yardstick: the least code that forwards MCP over HTTP to a child process per session.
 *
 * It knows no time-outs, no streams, no errors and no end of a session. What a gateway does beyond this is what its
 * ratio to this measures. Arguments: the command of the server. Prints its port.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";

interface Session {
  readonly child: ChildProcessWithoutNullStreams;
  /** Resolves the response to each request in flight. */
  readonly pending: Map<unknown, (line: string) => void>;
}

const [command = "", ...args] = Deno.args;
const sessions = new Map<string, Session>();

Deno.serve({
  hostname: "127.0.0.1",
  port: 0,
  onListen: ({ port }) => void Deno.stdout.writeSync(new TextEncoder().encode(`${port}\n`)),
}, async (request) => {
  const text = await request.text();
  const { id } = JSON.parse(text);
  let sessionId = request.headers.get("mcp-session-id");
  if (sessionId === null) sessions.set(sessionId = crypto.randomUUID(), open());
  const session = sessions.get(sessionId)!;
  session.child.stdin.write(text + "\n");
  if (id === undefined) return new Response(null, { status: 202 });
  const { promise, resolve } = Promise.withResolvers<string>();
  session.pending.set(id, resolve);
  return new Response(await promise, {
    headers: { "content-type": "application/json", "mcp-session-id": sessionId },
  });
});

function open(): Session {
  const child = spawn(command, args);
  child.stderr.resume();
  const pending: Session["pending"] = new Map();
  let rest = "";
  child.stdout.on("data", (chunk: Uint8Array) => {
    const text = rest + Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength).toString();
    const lines = text.split("\n");
    rest = lines.pop()!;
    for (const line of lines) {
      const { id } = JSON.parse(line);
      pending.get(id)?.(line);
      pending.delete(id);
    }
  });
  return { child, pending };
}
