/**
 * An event log as a text, to outlive the process: written as it is, read with suspicion.
 *
 * @module
 */
import { asObject, isRequestId, type RequestId } from "../protocol/jsonrpc.ts";
import { isEpoch } from "./event_ids.ts";

/** The form of the text. Another one is not read. */
const FORM = 1;
/** Numbers of streams and events stay within what an id can say. */
const MAX_NO = 999_999_999_999_999;

/** One stream, as it is kept. */
export interface StreamImage {
  readonly no: number;
  /** The number of its last event, and of the last one that is not kept any more. */
  readonly last: number;
  readonly gone: number;
  /** Whether more may come. Only of a standalone stream. */
  readonly goesOn: boolean;
  /** The request that it belongs to; undefined for a standalone stream. */
  readonly requestId: RequestId | undefined;
}

/** A whole log. */
export interface LogImage {
  readonly epoch: string;
  /** The number of its last stream. */
  readonly last: number;
  readonly streams: readonly StreamImage[];
  /** Number of its stream, its own, what was sent; oldest first. */
  readonly events: readonly (readonly [stream: number, no: number, text: string])[];
}

/** Writes one. */
export function logText({ epoch, last, streams, events }: LogImage): string {
  const rows = streams.map(({ no, last, gone, goesOn, requestId }) => [
    no,
    last,
    gone,
    goesOn,
    ...(requestId === undefined ? [] : [requestId]),
  ]);
  return JSON.stringify({ form: FORM, epoch, last, streams: rows, events });
}

/**
 * Reads one.
 *
 * @returns Undefined where anything about it is not as this module writes it.
 */
export function parseLog(text: string): LogImage | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  const { form, epoch, last, streams, events } = asObject(value) ?? {};
  if (form !== FORM || !isEpoch(epoch) || !isNo(last) || !Array.isArray(streams) || !Array.isArray(events)) {
    return undefined;
  }
  const read = readStreams(streams, last);
  return read !== undefined && areWhole(events, read) ? { epoch, last, streams: read, events } : undefined;
}

/** The streams, each once, at most one of which goes on. */
function readStreams(rows: readonly unknown[], lastStream: number): StreamImage[] | undefined {
  const streams = new Map<number, StreamImage>();
  let going = 0;
  for (const row of rows) {
    if (!Array.isArray(row) || row.length < 4 || row.length > 5) return undefined;
    const [no, last, gone, goesOn, requestId] = row as unknown[];
    if (!isNo(no) || no === 0 || no > lastStream || streams.has(no)) return undefined;
    if (!isNo(last) || !isNo(gone) || gone > last || typeof goesOn !== "boolean") return undefined;
    if (row.length === 5 && !isRequestId(requestId)) return undefined;
    if (goesOn && (row.length === 5 || going++ > 0)) return undefined;
    streams.set(no, { no, last, gone, goesOn, requestId: requestId as RequestId | undefined });
  }
  return [...streams.values()];
}

/** Whether the events are those that the streams say they have, in order and without holes. */
function areWhole(events: readonly unknown[], streams: readonly StreamImage[]): events is LogImage["events"] {
  const next = new Map(streams.map(({ no, gone }) => [no, gone + 1]));
  for (const event of events) {
    if (!Array.isArray(event) || event.length !== 3) return false;
    const [stream, no, text] = event as unknown[];
    if (next.get(stream as number) !== no) return false;
    // A line break would be the end of an event.
    if (typeof text !== "string" || /[\r\n]/.test(text)) return false;
    next.set(stream as number, no as number + 1);
  }
  return streams.every(({ no, last }) => next.get(no) === last + 1);
}

function isNo(value: unknown): value is number {
  return Number.isSafeInteger(value) && value as number >= 0 && value as number <= MAX_NO;
}
