/**
 * What events of resumable streams are called: `EPOCH.STREAM-EVENT`, and `EPOCH.STREAM-EVENT.REQUEST` on the stream of a
 * request.
 *
 * The epoch tells the ids of one log from those of any other, such as the one that was lost when the gateway was
 * killed. Streams are counted from 1 within a log, events from 1 within a stream; 0 is the priming event. REQUEST is the
 * JSON of the request's id, in base64url: a client that waits for an answer can be told that there will be none, though
 * nothing else is known of its request. It is left out where it is long.
 *
 * All of an id is visible ASCII, and it is bounded. Nothing in it is a secret, nothing is believed because it is in it.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { isRequestId, type RequestId } from "../protocol/jsonrpc.ts";

const EPOCH_CHARS = 8;
/** Of REQUEST. Ids of requests are up to their clients. */
const MAX_TAG_CHARS = 128;
const ID = /^([0-9a-z]{8})\.([1-9]\d{0,14})-(0|[1-9]\d{0,14})(?:\.([\w-]{1,128}))?$/;
const BASE_36 = "0123456789abcdefghijklmnopqrstuvwxyz";

/** An id of an event, taken apart. */
export interface EventId {
  readonly epoch: string;
  readonly stream: number;
  readonly event: number;
  /** REQUEST as it stands there; empty where there is none. */
  readonly tag: string;
}

/** A new epoch. */
export function newEpoch(): string {
  let epoch = "";
  // The first 252 values of a byte fall evenly on the digits.
  while (epoch.length < EPOCH_CHARS) {
    for (const byte of crypto.getRandomValues(new Uint8Array(EPOCH_CHARS))) {
      if (byte < 252 && epoch.length < EPOCH_CHARS) epoch += BASE_36[byte % 36];
    }
  }
  return epoch;
}

/** Whether a text is an epoch. */
export function isEpoch(text: unknown): text is string {
  return typeof text === "string" && /^[0-9a-z]{8}$/.test(text);
}

/** REQUEST for a request; empty for none, and where it would be too long. */
export function tagOf(requestId: RequestId | undefined): string {
  if (requestId === undefined) return "";
  const json = JSON.stringify(requestId);
  // No character takes less than a byte.
  if (json.length > MAX_TAG_CHARS) return "";
  const tag = Buffer.from(json).toString("base64url");
  return tag.length > MAX_TAG_CHARS ? "" : tag;
}

/** The request that a REQUEST names; undefined where it names none. */
export function requestOf(tag: string): RequestId | undefined {
  try {
    const id: unknown = JSON.parse(Buffer.from(tag, "base64url").toString());
    return isRequestId(id) && tagOf(id) === tag ? id : undefined;
  } catch {
    return undefined;
  }
}

/** Takes an id apart; undefined where it is none. */
export function parseEventId(text: string): EventId | undefined {
  const [, epoch, stream, event, tag = ""] = ID.exec(text) ?? [];
  return epoch === undefined ? undefined : { epoch, stream: Number(stream), event: Number(event), tag };
}
