/**
 * The SDK's transports, loaded when a remote server is configured: a gateway without one does not pay for them.
 *
 * @module
 */
import type { RemoteServer } from "../../config/types.ts";
import { HttpWire } from "./http_wire.ts";
import { SseWire } from "./sse_wire.ts";
import type { Wire, WireOptions } from "./wire.ts";

/** Makes wires of one kind. */
export type MakeWire = (options: WireOptions) => Wire;

/** Loads what wires of that kind need; once, however often it is asked. */
export async function loadWire(type: RemoteServer["type"]): Promise<MakeWire> {
  if (type === "sse") {
    // @ts-types="@modelcontextprotocol/sdk/client/sse"
    const { SSEClientTransport } = await import("@modelcontextprotocol/sdk/client/sse.js");
    return (options) => new SseWire(SSEClientTransport, options);
  }
  // @ts-types="@modelcontextprotocol/sdk/client/streamableHttp"
  const { StreamableHTTPClientTransport } = await import(
    "@modelcontextprotocol/sdk/client/streamableHttp.js"
  );
  return (options) => new HttpWire(StreamableHTTPClientTransport, options);
}
