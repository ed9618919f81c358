/**
 * Reading what a server elsewhere answers: bounded, and no faster than it is wanted.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createParser } from "eventsource-parser";
import type { Clock } from "../../clock.ts";
import { Gathered } from "../../gathered.ts";
import { SESSION_HEADER } from "../../protocol/revisions.ts";
import { connectionError, UpstreamError } from "./upstream_error.ts";
import type { Gate } from "./waiting.ts";

/** What a session's id may be: visible ASCII (specification 2025-11-25, "Session Management"). */
const SESSION_ID = /^[\x21-\x7e]{1,4096}$/;

/** How a body is read. */
export interface ReadRules {
  readonly clock: Clock;
  /** Readers wait while it is shut. */
  readonly gate: Gate;
  /** The longest message, in bytes. */
  readonly maxBytes: number;
  /** How long the next bytes of what was begun may take, in ms. An event stream may be silent for as long as it likes. */
  readonly readTimeoutMs: number;
}

/** One event of a stream. */
export interface StreamEvent {
  readonly id?: string | undefined;
  readonly event?: string | undefined;
  readonly data: string;
}

/** Who gets the events. */
export interface EventSink {
  event(event: StreamEvent): void;
  /** How long the server wants a client to wait before it comes back, in ms. */
  retry(ms: number): void;
}

/** Thrown where a message is over the bound: the end of the backend. */
export class OverlongError extends Error {
  override readonly name = "OverlongError";
}

/**
 * Reads an event stream to its end.
 *
 * @throws {UpstreamError} Where the connection breaks.
 * @throws {OverlongError} Where an event is over the bound.
 */
export async function readEvents(
  body: ReadableStream<Uint8Array> | null,
  sink: EventSink,
  { gate, maxBytes }: ReadRules,
): Promise<void> {
  if (body === null) return;
  let overlong = false;
  const parser = createParser({
    onEvent: (event) => {
      // Its own bound is on what waits for its end; what came whole in one chunk is bounded here.
      if (event.data.length > maxBytes) overlong = true;
      else if (!overlong) sink.event(event);
    },
    onRetry: (ms) => sink.retry(ms),
    onError: (error) => {
      if (error.type === "max-buffer-size-exceeded") overlong = true;
    },
    maxBufferSize: maxBytes,
  });
  const decoder = new TextDecoder();
  const reader = body.getReader();
  try {
    for (;;) {
      await gate.pass();
      const { done, value } = await reader.read();
      if (done) return;
      parser.feed(decoder.decode(value, { stream: true }));
      if (overlong) throw new OverlongError();
    }
  } catch (error) {
    throw error instanceof OverlongError ? error : connectionError(error);
  } finally {
    void reader.cancel().catch(() => {});
  }
}

/**
 * Reads a body that is one text.
 *
 * @throws {UpstreamError} Where the connection breaks, or nothing comes in time.
 * @throws {OverlongError} Where it is over the bound.
 */
export async function readText(
  body: ReadableStream<Uint8Array> | null,
  { clock, gate, maxBytes, readTimeoutMs }: ReadRules,
): Promise<string> {
  if (body === null) return "";
  const gathered = new Gathered();
  const reader = body.getReader();
  try {
    for (;;) {
      await gate.pass();
      const late = Promise.withResolvers<never>();
      const cancel = clock.after(readTimeoutMs, () => late.reject(silent(readTimeoutMs)));
      const { done, value } = await Promise.race([reader.read(), late.promise]).finally(cancel);
      if (done) {
        return Buffer.from(gathered.bytes.buffer, gathered.bytes.byteOffset, gathered.byteLength).toString(
          "utf8",
        );
      }
      if (gathered.byteLength + value.byteLength > maxBytes) throw new OverlongError();
      gathered.push(value);
    }
  } catch (error) {
    throw error instanceof OverlongError ? error : connectionError(error);
  } finally {
    void reader.cancel().catch(() => {});
  }
}

/** Lets go of a body that nobody wants. */
export function discard(body: ReadableStream<Uint8Array> | null): void {
  void body?.cancel().catch(() => {});
}

/** Nothing came for so long. */
export function silent(ms: number): UpstreamError {
  return new UpstreamError("lost", `sent nothing for ${ms} ms`);
}

/** The media type of a response, in lower case and without its parameters. */
export function mediaTypeOf({ headers }: Response): string {
  return (headers.get("content-type") ?? "").split(";", 1)[0]!.trim().toLowerCase();
}

/** The session that the server opened, if it opened one. */
export function sessionIdOf({ headers }: Response): string | undefined {
  const id = headers.get(SESSION_HEADER);
  if (id === null || SESSION_ID.test(id)) return id ?? undefined;
  throw new UpstreamError("content", "named its session by what is no session id");
}
