/**
 * Server-sent events as MCP uses them: one JSON-RPC message an event.
 *
 * @module
 */

/** One message as an event. `text` is JSON on one line, so it needs no splitting. */
export function sseMessage(text: string): string {
  return `event: message\ndata: ${text}\n\n`;
}

/** A comment: keeps a silent connection from being given up by what lies in between, and means nothing. */
export const SSE_KEEP_ALIVE = ": keep-alive\n\n";
