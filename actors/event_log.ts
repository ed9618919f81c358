/**
 * What went out on the streams of one session, numbered and kept for a while: a client that lost its connection comes
 * back with the id of the last event that it got, and is sent what followed on that stream.
 *
 * Ids are as `event_ids.ts` says. They are looked up in the session's own log and nowhere else, so one of another
 * session, or an invented one, finds nothing of anybody else's.
 *
 * Bounded: the oldest events go first, whichever stream they are of. A stream that lost some is not resumed from before
 * them: its client is told, instead of being given the rest as if it were all.
 *
 * A log outlives its process as a text: `export` and `restore`. Requests do not, so their streams end there, with an
 * error in the place of the answer. Where the text is lost too, an id of the old log has another epoch than the new one,
 * and says at least which request its client waits for.
 *
 * @module
 */
import { type Failure, rpcErrorText } from "../errors.ts";
import type { RequestId } from "../protocol/jsonrpc.ts";
import type { ClientStream, LoggedEvent, StreamLog } from "./client.ts";
import { newEpoch, parseEventId, requestOf, tagOf } from "./event_ids.ts";
import { type LogImage, logText, parseLog, type StreamImage } from "./event_log_text.ts";

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
  /** It is of another log, such as one that was lost. `requestId` is what it says, which may be invented. */
  | { readonly kind: "elsewhere"; readonly requestId: RequestId | undefined }
  /** No event of this session has that id. */
  | { readonly kind: "unknown" };

interface Kept {
  readonly stream: LoggedStream;
  readonly no: number;
  readonly text: string;
}

/** See the module's documentation. */
export class EventLog {
  readonly #epoch: string;
  /** Oldest first, from `#from` on. */
  #events: Kept[] = [];
  #from = 0;
  #chars = 0;
  readonly #streams = new Map<number, LoggedStream>();
  #lastStream = 0;
  /** The newest stream that belongs to no request. */
  #standalone: LoggedStream | undefined;

  constructor(epoch: string = newEpoch()) {
    this.#epoch = epoch;
  }

  /**
   * A log that was exported.
   *
   * @param standalone Whose the standalone stream is, if one was open.
   * @returns An empty one with an epoch of its own where the text is damaged.
   */
  static restore(text: string, standalone: Resumable): EventLog {
    const image = parseLog(text);
    if (image === undefined) return new EventLog();
    const log = new EventLog(image.epoch);
    log.#lastStream = image.last;
    for (const { no, last, gone, goesOn, requestId } of image.streams) {
      const stream = log.#begin(no, standalone, requestId);
      stream.last = last;
      stream.gone = gone;
      if (!goesOn) stream.finish();
    }
    for (const [streamNo, no, text] of image.events) log.keep(log.#streams.get(streamNo)!, no, text);
    return log;
  }

  /**
   * The log as a text. It changes nothing here.
   *
   * @param more What has been said since there was no connection, and would go out on the standalone stream.
   * @returns Undefined where no stream was ever begun.
   */
  export(more: readonly string[] = []): string | undefined {
    if (this.#lastStream === 0) return undefined;
    const events: LogImage["events"][number][] = this.#events.slice(this.#from)
      .map(({ stream, no, text }) => [stream.no, no, text]);
    const streams = Array.from(this.#streams.values(), (stream): StreamImage => {
      const { no, gone, requestId, over } = stream;
      let { last } = stream;
      const texts = over ? [] : requestId === undefined ? more : [rpcErrorText(INTERRUPTED, requestId)];
      for (const text of texts) events.push([no, ++last, text]);
      return { no, last, gone, goesOn: !over && requestId === undefined, requestId };
    });
    return logText({ epoch: this.#epoch, last: this.#lastStream, streams, events });
  }

  /** Events that are kept. */
  get size(): number {
    return this.#events.length - this.#from;
  }

  /** Streams that can be resumed. */
  get streams(): number {
    return this.#streams.size;
  }

  /**
   * Begins to log a stream.
   *
   * @param requestId The request that it belongs to. A standalone stream belongs to none, and takes the place of the one
   * before it.
   */
  begin(owner: Resumable, requestId?: RequestId): StreamLog {
    return this.#begin(++this.#lastStream, owner, requestId);
  }

  #begin(no: number, owner: Resumable, requestId: RequestId | undefined): LoggedStream {
    const stream = new LoggedStream(no, { epoch: this.#epoch, owner, requestId, log: this });
    this.#streams.set(no, stream);
    if (requestId === undefined) {
      this.#standalone?.finish();
      this.#standalone = stream;
    }
    return stream;
  }

  /** Finds what followed an event. */
  after(id: string): Found {
    const parsed = parseEventId(id);
    if (parsed === undefined) return { kind: "unknown" };
    if (parsed.epoch !== this.#epoch) return { kind: "elsewhere", requestId: requestOf(parsed.tag) };
    if (parsed.stream > this.#lastStream) return { kind: "unknown" };
    const stream = this.#streams.get(parsed.stream);
    // It was there, and nothing of it is any more.
    if (stream === undefined) return { kind: "gap" };
    if (parsed.event > stream.last || parsed.tag !== stream.tag) return { kind: "unknown" };
    if (parsed.event < stream.gone) return { kind: "gap" };
    const missed: LoggedEvent[] = [];
    for (let at = this.#from; at < this.#events.length; at++) {
      const { stream: of, no, text } = this.#events[at]!;
      if (of === stream && no > parsed.event) missed.push({ id: stream.idOf(no), text });
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
    if (stream.over && no === stream.last) this.#streams.delete(stream.no);
  }
}

/** One stream of a log. */
class LoggedStream implements StreamLog {
  readonly no: number;
  /** Undefined for a standalone stream. */
  readonly requestId: RequestId | undefined;
  /** What the ids of its events say of the request. */
  readonly tag: string;
  readonly #epoch: string;
  readonly #log: EventLog;
  /** Undefined once it is over. */
  owner: Resumable | undefined;
  /** The number of its last event. */
  last = 0;
  /** The last of its events that are not kept any more. */
  gone = 0;

  constructor(
    no: number,
    { epoch, owner, requestId, log }: {
      epoch: string;
      owner: Resumable;
      requestId: RequestId | undefined;
      log: EventLog;
    },
  ) {
    this.no = no;
    this.requestId = requestId;
    this.tag = tagOf(requestId);
    this.#epoch = epoch;
    this.owner = owner;
    this.#log = log;
  }

  get over(): boolean {
    return this.owner === undefined;
  }

  idOf(event: number): string {
    const id = `${this.#epoch}.${this.no}-${event}`;
    return this.tag === "" ? id : `${id}.${this.tag}`;
  }

  get primingId(): string {
    return this.idOf(0);
  }

  get lastId(): string {
    return this.idOf(this.last);
  }

  add(text: string): string {
    const no = ++this.last;
    this.#log.keep(this, no, text);
    return this.idOf(no);
  }

  finish(): void {
    if (this.owner === undefined) return;
    this.owner = undefined;
    this.#log.finished(this);
  }
}

/** In the place of an answer that will not come. */
const INTERRUPTED: Failure = { code: "interrupted" };
/** In the place of an event that went: what was there can be let go. */
const GONE = {} as Kept;
