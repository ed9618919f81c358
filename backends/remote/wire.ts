/**
 * The contract of a wire: one session at a server elsewhere, over one transport. A backend has one at a time, and gets
 * another where the server forgot its session.
 *
 * @module
 */
import type { Clock } from "../../clock.ts";
import { logger } from "../../log.ts";
import { OverlongError, type ReadRules } from "./body.ts";
import type { Upstream } from "./upstream.ts";
import type { UpstreamError } from "./upstream_error.ts";

const log = logger("backend");

/** One message on its way to the server. */
export interface Post {
  /** JSON on one line. */
  readonly text: string;
  /** `initialize` opens the session, `request` wants an answer, `tell` wants none. */
  readonly kind: "initialize" | "request" | "tell";
  /** Aborts when nobody waits any more. */
  readonly signal: AbortSignal;
  /** Whether the server has answered it, wherever the answer came. */
  readonly answered: boolean;
  /** Resolves when it has. */
  readonly whenAnswered: Promise<void>;
  /** The server has taken it. */
  taken(): void;
}

/** What a wire reports. Called one at a time, never from inside a call to the wire. */
export interface WireEvents {
  /** The server sent something: JSON, one message or a batch, unless it is garbage. */
  text(text: string): void;
  /** It sent a message over the bound. */
  overlong(): void;
  /** The session is gone with its stream. Only where a session lives as long as that. */
  lost(error: UpstreamError): void;
}

/** See the module's documentation. */
export interface Wire {
  /** Opens what has to be open before anything is said. @throws {UpstreamError} */
  open(): Promise<void>;
  /**
   * Sends a message. Resolves when it was taken and, where it wants one, was answered.
   *
   * @throws {UpstreamError} With `session` where the server does not know the session, and did not take the message.
   */
  post(post: Post): Promise<void>;
  /** The version was agreed on: it goes with every request from now on. */
  agreed(version: string): void;
  /** Listens to what the server says unasked, and comes back where that breaks off. Idempotent. */
  listen(): void;
  /** Another one takes its place. What is on its way goes on, and it closes by itself after that. Idempotent. */
  retire(): void;
  /** Reads nothing more. Idempotent. */
  stop(): void;
  /** Tells the server that the session is over, where it has one and the signal gives the time. Never rejects. */
  terminate(signal: AbortSignal): Promise<void>;
  /** Stops, and resolves when nothing is left. Idempotent, never rejects. */
  close(): Promise<void>;
}

/** What wires of both kinds are made of. */
export interface WireOptions {
  readonly upstream: Upstream;
  readonly events: WireEvents;
  readonly clock: Clock;
  readonly rules: ReadRules;
}

/** A response for the SDK's transport, which gets no bodies. */
export function emptyResponse(
  status: number,
  headers: Readonly<Record<string, string | undefined>>,
): Response {
  const given = Object.entries(headers).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return new Response(null, { status, headers: given });
}

/** What was read; undefined where it was over the bound, which is then told. */
export async function unlessOverlong<Read>(
  reading: Promise<Read>,
  events: WireEvents,
): Promise<Read | undefined> {
  try {
    return await reading;
  } catch (error) {
    if (!(error instanceof OverlongError)) throw error;
    events.overlong();
    return undefined;
  }
}

/** A fault of the gateway's own. */
export function onFault(error: unknown): void {
  log.error("Fault of a remote backend: {error}", { error });
}
