/**
 * What a server is answered that asks its client for something where no client is there to answer: a session of the
 * bridge has clients that send one request each and take nothing else.
 *
 * The server was told that its client has no capabilities, so there is nothing that it may ask but whether it is there.
 *
 * @module
 */
import { rpcErrorText } from "../errors.ts";
import { encodeResult, type RequestMessage } from "../protocol/jsonrpc.ts";

/** The answer, as one line of JSON. */
export function answerForNobody({ id, method }: RequestMessage): string {
  return method === "ping" ? encodeResult(id, {}) : rpcErrorText({ code: "noClient", detail: method }, id);
}
