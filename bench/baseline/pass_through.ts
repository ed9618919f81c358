/**
 * The yardstick: the least code that forwards MCP over HTTP to a child process per session, as fast as such code gets.
 *
 * It knows no time-outs, no streams, no errors and no end of a session. What a gateway does beyond this is what its
 * ratio to this measures. Arguments: the command of the server. Prints its port.
 *
 * What looks less simple than it could be was measured: bytes cost a child's pipe less than a string, and so do lines
 * that are decoded where they lie, and headers that are the same object each time.
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

const LF = 10;
const JSON_HEADERS = { "content-type": "application/json" };

const [command = "", ...args] = Deno.args;
const sessions = new Map<string, Session>();

Deno.serve({
  hostname: "127.0.0.1",
  port: 0,
  onListen: ({ port }) => void Deno.stdout.writeSync(new TextEncoder().encode(`${port}\n`)),
}, async (request) => {
  const sessionId = request.headers.get("mcp-session-id");
  const text = await request.text();
  const { id } = JSON.parse(text);
  const newId = sessionId === null ? crypto.randomUUID() : undefined;
  if (newId !== undefined) sessions.set(newId, open());
  const { child, pending } = sessions.get(newId ?? sessionId!)!;
  child.stdin.write(Buffer.from(text + "\n"));
  if (id === undefined) return new Response(null, { status: 202 });
  const { promise, resolve } = Promise.withResolvers<string>();
  pending.set(id, resolve);
  const headers = newId === undefined ? JSON_HEADERS : { ...JSON_HEADERS, "mcp-session-id": newId };
  return new Response(await promise, { headers });
});

function open(): Session {
  const child = spawn(command, args);
  child.stderr.resume();
  const pending: Session["pending"] = new Map();
  /** The beginning of a line whose end has not come. */
  let held: Buffer[] = [];
  child.stdout.on("data", ({ buffer, byteOffset, byteLength }: Uint8Array) => {
    const chunk = Buffer.from(buffer, byteOffset, byteLength);
    let start = 0;
    for (let end = chunk.indexOf(LF); end >= 0; end = chunk.indexOf(LF, start)) {
      const line = held.length === 0
        ? chunk.toString("utf8", start, end)
        : Buffer.concat([...held, chunk.subarray(start, end)]).toString();
      held = [];
      start = end + 1;
      const { id } = JSON.parse(line);
      pending.get(id)?.(line);
      pending.delete(id);
    }
    if (start < byteLength) held.push(Buffer.from(chunk.subarray(start)));
  });
  return { child, pending };
}
