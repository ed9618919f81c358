/**
 * What clients have to get of streams that are cut and resumed, in the simplest words: each stream is a list of texts,
 * and whoever comes back gets those behind the one that they name, or is refused because one of them is gone.
 *
 * Everything settles after each command, so there is one right place for each message and one right order.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { rpcErrorText } from "../../errors.ts";
import type { RequestId } from "../../protocol/jsonrpc.ts";
import type { Wire } from "./resume_wire.ts";

/** What is kept of the streams of a session, and of messages that no stream took. */
const MAX_EVENTS = 1_000;
const MAX_CHARS = 4 * 1024 * 1024;
const MAX_KEPT = 256;
const MAX_KEPT_CHARS = 1024 * 1024;

/** One connection of a stream. */
export interface Connection {
  readonly wire: Wire;
  readonly stream: Stream;
  /** How much of the stream was before it. */
  readonly from: number;
  /** How much there was when it ended; undefined while it is open. */
  upTo: number | undefined;
  /** How it ended: its reader got all, or the stream went on elsewhere, or its reader hung up. */
  ended: "whole" | "dropped" | "hungUp" | undefined;
}

/** One stream: of a request, or a standalone one. */
export class Stream {
  readonly sent: string[] = [];
  /** By how many events were before them and with them. */
  readonly ids: (string | undefined)[] = [];
  /** How many are not kept any more. */
  gone = 0;
  over = false;
  /** Whether the log that knew it was lost. */
  lost = false;
  /** How far its client has it. */
  got = 0;
  connection: Connection | undefined;

  constructor(readonly session: Session, readonly requestId: RequestId | undefined) {}

  get open(): boolean {
    return this.connection !== undefined && this.connection.upTo === undefined;
  }
}

/** What has to become of a GET: its status, and the stream that it opens, from where. */
export interface Outcome {
  readonly status: number;
  readonly opened?: { readonly stream: Stream; readonly from: number };
}

/** All that is believed of one session. */
export class Session {
  readonly streams: Stream[] = [];
  /** The streams of requests in flight, oldest first. */
  readonly inFlight = new Map<RequestId, Stream>();
  standalone: Stream | undefined;
  #log: { stream: Stream; chars: number }[] = [];
  #logChars = 0;
  /** Whether everything began anew and nothing is left of what there was. */
  #lostLog = false;
  #kept: string[] = [];
  readonly connections: Connection[] = [];

  constructor(readonly no: number) {}

  begin(requestId: RequestId | undefined): Stream {
    const stream = new Stream(this, requestId);
    this.streams.push(stream);
    if (requestId !== undefined) this.inFlight.set(requestId, stream);
    return stream;
  }

  /** A connection carries a stream from now on; the one before is ended where it is. */
  connect(wire: Wire, { stream, from }: { stream: Stream; from: number }): void {
    const connection: Connection = { wire, stream, from, upTo: undefined, ended: undefined };
    this.connections.push(connection);
    stream.connection = connection;
    if (stream.over) end(connection, "whole");
  }

  /** A standalone stream without a past, in the place of the one before it. */
  openStandalone(): Stream {
    const before = this.standalone;
    const stream = this.begin(undefined);
    if (before !== undefined) this.#finish(before);
    this.standalone = stream;
    return stream;
  }

  /** Its client came back for it, or opened it: what was kept goes out on it, unless that belongs elsewhere. */
  deliverKept(stream: Stream): void {
    if (stream.over || (stream !== this.standalone && this.standalone?.open)) return;
    const kept = this.#kept;
    this.#kept = [];
    for (const text of kept) this.#send(stream, text);
  }

  progress(stream: Stream, text: string): void {
    this.#send(stream, text);
  }

  tell(text: string): void {
    const stream = [...this.inFlight.values()].findLast(({ open }) => open) ??
      (this.standalone?.open ? this.standalone : undefined);
    if (stream !== undefined) return this.#send(stream, text);
    this.#kept.push(text);
    while (
      this.#kept.length > MAX_KEPT || this.#kept.reduce((sum, { length }) => sum + length, 0) > MAX_KEPT_CHARS
    ) this.#kept.shift();
  }

  answer(requestId: RequestId, text: string): void {
    const stream = this.inFlight.get(requestId)!;
    this.inFlight.delete(requestId);
    this.#send(stream, text);
    this.#finish(stream);
  }

  /**
   * What becomes of a client of this session that comes with the id of an event, of this one or another session.
   *
   * @param isNamed Whether the id says which request it is of.
   */
  resume(stream: Stream, { from, isNamed }: { from: number; isNamed: boolean }): Outcome {
    const requestId = isNamed ? stream.requestId : undefined;
    if (stream.lost || stream.session !== this) {
      if (requestId === undefined && this.#lostLog && !this.standalone?.open) {
        return { status: 200, opened: { stream: this.openStandalone(), from: 0 } };
      }
      if (requestId === undefined || this.inFlight.has(requestId)) return { status: 410 };
      const told = new Stream(this, requestId);
      this.streams.push(told);
      this.#send(told, interrupted(requestId));
      told.over = true;
      return { status: 200, opened: { stream: told, from: 0 } };
    }
    if (from < stream.gone || (stream.over && stream.gone === stream.sent.length)) return { status: 410 };
    if (stream.over && from === stream.sent.length) return { status: 204 };
    if (stream.connection !== undefined) end(stream.connection, "dropped");
    return { status: 200, opened: { stream, from } };
  }

  /** Everything begins anew. Connections are over already. */
  restart(kept: boolean): void {
    if (kept) {
      for (const [requestId, stream] of this.inFlight) {
        this.#send(stream, interrupted(requestId));
        this.#finish(stream);
      }
      if (this.standalone !== undefined) { for (const text of this.#kept) this.#send(this.standalone, text); }
    } else for (const stream of this.streams) stream.lost = true;
    this.#kept = [];
    this.inFlight.clear();
    this.#lostLog = this.streams.every(isNothingLeft);
    if (kept) return;
    this.#log = [];
    this.#logChars = 0;
    this.standalone = undefined;
  }

  #send(stream: Stream, text: string): void {
    stream.sent.push(text);
    this.#log.push({ stream, chars: text.length });
    this.#logChars += text.length;
    while (this.#log.length > MAX_EVENTS || this.#logChars > MAX_CHARS) {
      const { stream, chars } = this.#log.shift()!;
      this.#logChars -= chars;
      stream.gone++;
    }
  }

  #finish(stream: Stream): void {
    stream.over = true;
    if (stream.connection !== undefined) end(stream.connection, "whole");
  }
}

function isNothingLeft({ lost, over, gone, sent }: Stream): boolean {
  return lost || (over && gone === sent.length);
}

/** A connection is over. */
export function end(connection: Connection, how: NonNullable<Connection["ended"]>): void {
  if (connection.upTo !== undefined) return;
  connection.upTo = connection.stream.sent.length;
  connection.ended = how;
}

function interrupted(requestId: RequestId): string {
  return rpcErrorText({ code: "interrupted" }, requestId);
}

/** Compares a connection with what has to be on it. Everything has settled. */
export function check(connection: Connection, ids: Map<string, string>): void {
  const { wire, stream, from, upTo, ended } = connection;
  const { received } = wire;
  const name = `stream ${stream.session.streams.indexOf(stream)} of session ${stream.session.no}`;
  const expected = stream.sent.slice(from, upTo);
  assert(received.length <= expected.length, `${name} has ${received.length - expected.length} too many`);
  for (const [at, { id, text }] of received.entries()) {
    // Messages may be large, and most were looked at before.
    if (at + from < stream.got && stream.ids[from + at + 1] === id && text === expected[at]) continue;
    assert(text === expected[at], `${name}: ${text.slice(0, 200)} instead of ${expected[at]?.slice(0, 200)}`);
    note(stream, from + at + 1, id, ids);
  }
  for (const id of wire.primed) note(stream, from, id, ids);
  stream.got = Math.max(stream.got, from + received.length);
  if (wire.frozen || ended === "hungUp") return;
  assertEquals(wire.ended, ended !== undefined, `${name}: whether a connection ended`);
  if (ended !== "dropped") assertEquals(received.length, expected.length, `${name}: how many came`);
}

/** An id is given once, to one event of one stream. */
function note(stream: Stream, event: number, id: string | undefined, ids: Map<string, string>): void {
  assert(id !== undefined && id.length < 200 && /^[!-~]+$/.test(id), `the id ${id}`);
  assertEquals(stream.ids[event] ?? id, id, "one event has two ids");
  stream.ids[event] = id;
  const place = `${stream.session.no} ${stream.session.streams.indexOf(stream)} ${event}`;
  assertEquals(ids.get(id) ?? place, place, "two events have one id");
  ids.set(id, place);
}
