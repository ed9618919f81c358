/**
 * `GET /sessions/events`: what happens in the gateway, as it happens, as server-sent events.
 *
 * Nobody who watches slows anything down: an event goes to each reader or to none, and a reader behind which more
 * waits than may loses its stream at once. There is one subscription for all readers and none while there is no reader.
 *
 * @module
 */
import type { GatewayEvent, Supervisor } from "../actors/supervisor.ts";
import { END_REASONS } from "../actors/supervisor.ts";
import type { Clock } from "../clock.ts";
import type { Failure } from "../errors.ts";
import { logger } from "../log.ts";
import { sseEvent } from "../protocol/sse.ts";
import { type Identity, maySee } from "./access.ts";
import type { StreamPolicy } from "./outflow.ts";
import { clipped } from "./redact.ts";
import { iso, rounded } from "./session_view.ts";
import { SseStream } from "./sse_stream.ts";

/** Streams that may be open, for all and for one principal that does not administer. */
const MAX_READERS = 32;
const MAX_READERS_BY_PRINCIPAL = 8;
/** Bytes that may wait for one reader: over a thousand events, beside what the sockets hold. */
const MAX_BUFFER_BYTES = 256 * 1024;
/** Only bounds the end of a stream whose reader does not fetch the rest, in ms. */
const STALL_MS = 5_000;

/** One who watches. */
interface Reader {
  readonly stream: SseStream;
  readonly identity: Identity;
  /** The id of its last event. Each reader has its own: a gap would tell of events that are not for it. */
  lastId: number;
}

const log = logger("http");

/** See the module's documentation. */
export class EventFeed {
  readonly #supervisor: Supervisor;
  readonly #policy: StreamPolicy;
  readonly #readers = new Set<Reader>();
  /** Set while there are readers. */
  #unsubscribe: (() => void) | undefined;
  #closed = false;

  constructor(
    { supervisor, clock, maxBufferBytes = MAX_BUFFER_BYTES }: {
      readonly supervisor: Supervisor;
      readonly clock: Clock;
      readonly maxBufferBytes?: number;
    },
  ) {
    this.#supervisor = supervisor;
    this.#policy = { clock, maxBufferBytes, stallMs: STALL_MS, maxMs: 0, cuts: 0 };
  }

  /** How many watch. */
  get size(): number {
    return this.#readers.size;
  }

  /** How many were cut because they did not read. */
  get cuts(): number {
    return this.#policy.cuts;
  }

  /** A stream of all that somebody may know, from now on; or why there is none. */
  open(identity: Identity): SseStream | Failure {
    if (this.#closed) return { code: "shuttingDown" };
    const { principal, isAdmin } = identity;
    const own = Array.from(this.#readers).filter((reader) => reader.identity.principal === principal).length;
    if (!isAdmin && own >= MAX_READERS_BY_PRINCIPAL) {
      return { code: "tooManyStreams", detail: `${MAX_READERS_BY_PRINCIPAL} of yours` };
    }
    if (this.#readers.size >= MAX_READERS) return { code: "tooManyStreams", detail: `${MAX_READERS} in all` };
    const stream = new SseStream(this.#policy, () => this.#gone(reader));
    const reader: Reader = { stream, identity, lastId: 0 };
    stream.watch({ full: () => this.#cut(reader), room: () => {}, cut: () => {} });
    this.#readers.add(reader);
    this.#unsubscribe ??= this.#supervisor.events.subscribe((event) => this.#publish(event));
    return stream;
  }

  /** Ends all streams behind what was said, and opens no more. Idempotent. */
  close(): void {
    this.#closed = true;
    for (const reader of [...this.#readers]) {
      reader.stream.close();
      this.#gone(reader);
    }
  }

  #publish(event: GatewayEvent): void {
    let text: string | undefined;
    for (const reader of this.#readers) {
      const { identity, stream } = reader;
      if (!("session" in event ? maySee(identity, event) : identity.isAdmin)) continue;
      text ??= JSON.stringify(dataOf(event));
      stream.write(sseEvent(text, { event: event.type, id: ++reader.lastId }));
    }
  }

  #cut(reader: Reader): void {
    this.#policy.cuts++;
    log.warn("Cut a stream of events of {principal}: it was not read", {
      principal: reader.identity.principal,
    });
    reader.stream.cut();
  }

  #gone(reader: Reader): void {
    this.#readers.delete(reader);
    if (this.#readers.size > 0) return;
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
  }
}

/** What the event's data is. */
function dataOf(event: GatewayEvent): Record<string, unknown> {
  const at = iso(event.at);
  switch (event.type) {
    case "opened":
      return { at, ...aboutOf(event) };
    case "state":
      return { at, ...aboutOf(event), state: event.state };
    case "ended": {
      const { reason, detail } = event;
      return { at, ...aboutOf(event), reason, message: clipped(detail ?? END_REASONS[reason]) };
    }
    case "sweep": {
      const { asked, expired, evicted, tookMs, intervalMs, cause } = event;
      return { at, asked, expired, evicted, tookMs: Math.round(tookMs), intervalMs, cause };
    }
    case "pressure": {
      const { memory, load, part, scale } = event;
      return { at, memory: rounded(memory), load: rounded(load), part, ttlScale: rounded(scale) };
    }
  }
}

function aboutOf({ session, serverId, principal }: Extract<GatewayEvent, { session: string }>) {
  return { id: session, serverId, principal };
}
