/**
 * An MCP server that costs as little as one can on Deno: blocking reads and writes, one answer a line.
 *
 * Answers `initialize` and echoes the arguments of `tools/call`, after as many progress notifications as these ask for
 * in `progressCount`. The same child stands behind both gateways.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { readSync, writeSync } from "node:fs";

interface Meta {
  readonly progressToken?: unknown;
}

const CHUNK_BYTES = 64 * 1024;
const LF = 10;

const chunk = Buffer.alloc(CHUNK_BYTES);
let rest: Buffer = Buffer.alloc(0);

for (let size = readSync(0, chunk); size > 0; size = readSync(0, chunk)) {
  let bytes = rest.byteLength > 0 ? Buffer.concat([rest, chunk.subarray(0, size)]) : chunk.subarray(0, size);
  for (let end = bytes.indexOf(LF); end >= 0; end = bytes.indexOf(LF)) {
    answer(JSON.parse(bytes.toString("utf8", 0, end)));
    bytes = bytes.subarray(end + 1);
  }
  rest = Buffer.from(bytes);
}

function answer(
  { id, method, params }: { id?: unknown; method: string; params?: Record<string, unknown> },
): void {
  if (id === undefined) return;
  const args = (params?.arguments ?? {}) as { progressCount?: number };
  if (args.progressCount) tellProgress((params?._meta as Meta).progressToken, args.progressCount);
  const result = method === "initialize"
    ? {
      protocolVersion: params?.protocolVersion,
      capabilities: { tools: {} },
      serverInfo: { name: "echo", version: "1" },
    }
    : { content: [{ type: "text", text: JSON.stringify(args) }] };
  write(`${JSON.stringify({ jsonrpc: "2.0", id, result })}\n`);
}

/** One write each, as a server that really works towards something has it. */
function tellProgress(progressToken: unknown, total: number): void {
  for (let progress = 1; progress <= total; progress++) {
    const params = { progressToken, progress, total };
    write(`${JSON.stringify({ jsonrpc: "2.0", method: "notifications/progress", params })}\n`);
  }
}

function write(text: string): void {
  const bytes = Buffer.from(text);
  for (let sent = 0; sent < bytes.byteLength;) sent += writeSync(1, bytes, sent);
}
