/**
 * What a session can be told, and by whom: see the table at the top of `session.ts`.
 *
 * @module
 */
import type { BackendExit, ClosePace } from "../backends/backend.ts";
import type { Message } from "../protocol/jsonrpc.ts";
import type { ClientStream, Reply } from "./client.ts";
import type { EndReason } from "./end_reason.ts";

/** A message of the client and where it is answered. */
export interface ClientMessage {
  readonly tag: "message";
  readonly message: Message;
  readonly reply: Reply;
  /** Headers for the backend that it opens, where it does: see `BackendOwner`. */
  readonly forwarded?: Readonly<Record<string, string>>;
}

/** The client's standalone stream; exactly one of `accept` and `fail` is called. */
export interface OpenStream {
  readonly tag: "stream";
  readonly stream: ClientStream;
  /** The last event that the client got of a stream that it lost: that one is to go on. */
  readonly lastEventId?: string;
  readonly reply: Pick<Reply, "accept" | "fail">;
}

/** What comes from outside. Each is answered in its `reply`, also when it is refused. */
export type Mail = ClientMessage | OpenStream;

/** What comes from the things that a session owns, and from those who own the session. */
export type Signal =
  /** `from` tells the backends apart that a session has one after the other. */
  | { readonly tag: "message"; readonly message: Message; readonly from: unknown }
  | { readonly tag: "garbage"; readonly excerpt: string; readonly from: unknown }
  | { readonly tag: "exit"; readonly exit: BackendExit; readonly from: unknown }
  /** Nothing is left of a backend that was let go. */
  | { readonly tag: "released" }
  | { readonly tag: "suspend"; readonly pace: ClosePace }
  | { readonly tag: "full" | "room" }
  | { readonly tag: "wake" }
  | {
    readonly tag: "end";
    readonly reason: EndReason;
    readonly detail: string | undefined;
    /** Whether a session that is in use when it gets there goes on. */
    readonly onlyIdle?: boolean;
  };
