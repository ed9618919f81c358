/**
 * What went out on the streams of one session, numbered and kept for a while: a client that lost its connection comes
 * back with the id of the last event that it got, and is sent what followed on that stream.
 *
 * An id is `STREAM-EVENT`, both counted from 1 within the session; the priming event of a stream is its event 0. Ids are
 * looked up in the session's own log and nowhere else, so one of another session, or an invented one, finds nothing of
 * anybody else's.
 *
 * Bounded: the oldest events go first, whichever stream they are of. A stream that lost some is not resumed from before
 * them: its client is told, instead of being given the rest as if it were all.
 *
 * @module
 */
import type { ClientStream, LoggedEvent, StreamLog } from "./client.ts";

/** What is kept of a session: events, and UTF-16 code units of text. */
const MAX_EVENTS = 1_000;
const MAX_CHARS = 4 * 1024 * 1024;

/** Whose stream it is: what to do with a connection on which it goes on. */
export interface Resumable {
  /** The rest goes out on this connection. */
  resume(stream: ClientStream): void;
}

/** What an id of an event leads to. */
export type Found =
  | {
    readonly kind: "stream";
    readonly log: StreamLog;
    readonly missed: readonly LoggedEvent[];
    readonly owner: Resumable | undefined;
  }
  /** Some of what followed is gone. */
  | { readonly kind: "gap" }
  /** No event of this session has that id. */
  | { readonly kind: "unknown" };

interface Kept {
  readonly stream: LoggedStream;
  readonly no: number;
  readonly text: string;
}

/** See the module's documentation. */
export class EventLog {
  /** Oldest first, from `#from` on. */
  #events: Kept[] = [];
  #from = 0;
  #chars = 0;
  readonly #streams = new Map<number, LoggedStream>();
  #lastStream = 0;

  /** Events that are kept. */
  get size(): number {
    return this.#events.length - this.#from;
  }

  /** Streams that can be resumed. */
  get streams(): number {
    return this.#streams.size;
  }

  /** Begins to log a stream. */
  begin(owner: Resumable): StreamLog {
    const stream = new LoggedStream(++this.#lastStream, owner, this);
    this.#streams.set(stream.no, stream);
    return stream;
  }

  /** Finds what followed an event. */
  after(id: string): Found {
    const [, streamText, eventText] = /^([1-9]\d{0,14})-(0|[1-9]\d{0,14})$/.exec(id) ?? [];
    const streamNo = Number(streamText);
    const eventNo = Number(eventText);
    if (streamText === undefined || streamNo > this.#lastStream) return { kind: "unknown" };
    const stream = this.#streams.get(streamNo);
    // It was there, and nothing of it is any more.
    if (stream === undefined) return { kind: "gap" };
    if (eventNo > stream.last) return { kind: "unknown" };
    if (eventNo < stream.gone) return { kind: "gap" };
    const missed: LoggedEvent[] = [];
    for (let at = this.#from; at < this.#events.length; at++) {
      const { stream: of, no, text } = this.#events[at]!;
      if (of === stream && no > eventNo) missed.push({ id: idOf(stream.no, no), text });
    }
    return { kind: "stream", log: stream, missed, owner: stream.owner };
  }

  /** Keeps one more event. For {@link LoggedStream}. */
  keep(stream: LoggedStream, no: number, text: string): void {
    this.#events.push({ stream, no, text });
    this.#chars += text.length;
    while (this.size > MAX_EVENTS || this.#chars > MAX_CHARS) this.#drop();
    // Room that was taken by what is gone.
    if (this.#from > MAX_EVENTS) {
      this.#events = this.#events.slice(this.#from);
      this.#from = 0;
    }
  }

  /** A stream is over. For {@link LoggedStream}. */
  finished(stream: LoggedStream): void {
    if (stream.gone === stream.last) this.#streams.delete(stream.no);
  }

  #drop(): void {
    const { stream, no, text } = this.#events[this.#from]!;
    this.#events[this.#from++] = GONE;
    this.#chars -= text.length;
    stream.gone = no;
    if (stream.owner === undefined && no === stream.last) this.#streams.delete(stream.no);
  }
}

/** One stream of a log. */
class LoggedStream implements StreamLog {
  readonly no: number;
  readonly #log: EventLog;
  /** Undefined once it is over. */
  owner: Resumable | undefined;
  /** The number of its last event. */
  last = 0;
  /** The last of its events that are not kept any more. */
  gone = 0;

  constructor(no: number, owner: Resumable, log: EventLog) {
    this.no = no;
    this.owner = owner;
    this.#log = log;
  }

  get primingId(): string {
    return idOf(this.no, 0);
  }

  get lastId(): string {
    return idOf(this.no, this.last);
  }

  add(text: string): string {
    const no = ++this.last;
    this.#log.keep(this, no, text);
    return idOf(this.no, no);
  }

  finish(): void {
    if (this.owner === undefined) return;
    this.owner = undefined;
    this.#log.finished(this);
  }
}

function idOf(stream: number, event: number): string {
  return `${stream}-${event}`;
}

/** In the place of an event that went: what was there can be let go. */
const GONE = {} as Kept;
