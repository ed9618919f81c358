/**
 * Server-sent events: one JSON text an event. On `/mcp` each is a JSON-RPC message.
 *
 * @module
 */

/** One message as an event. `text` is JSON on one line, so it needs no splitting. */
export function sseMessage(text: string, id?: string): string {
  return id === undefined
    ? `event: message\ndata: ${text}\n\n`
    : `event: message\nid: ${id}\ndata: ${text}\n\n`;
}

/** The event that gives a client an id to come back with, before there is anything to tell. */
export function ssePriming(id: string, { retryMs }: { retryMs: number }): string {
  return `id: ${id}\nretry: ${retryMs}\ndata: \n\n`;
}

/** When to come back, said right before a connection is ended on purpose. It is no event. */
export function sseRetry(retryMs: number): string {
  return `retry: ${retryMs}\n\n`;
}

/** An event of another name, with an id. `text` is JSON on one line. */
export function sseEvent(text: string, { event, id }: { event: string; id: number }): string {
  return `event: ${event}\nid: ${id}\ndata: ${text}\n\n`;
}

/** The same without an id. */
export function sseNamed(event: string, text: string): string {
  return `event: ${event}\ndata: ${text}\n\n`;
}

/** A comment: keeps a silent connection from being given up by what lies in between, and means nothing. */
export const SSE_KEEP_ALIVE = ": keep-alive\n\n";
