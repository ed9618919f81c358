/**
 * Who takes part in the routing tests: the gateway, and for each session a client and a server.
 *
 * @module
 */
import type { RequestId } from "../../protocol/jsonrpc.ts";
import { Access, digestOf } from "../../routes/access.ts";
import { AppHarness } from "../fakes/app_harness.ts";
import type { FakeBackend } from "../fakes/fake_backend.ts";
import type { Channel } from "./routing_channel.ts";
import {
  CLIENT_REPLY_TIMEOUT_MS,
  type Opening,
  PRINCIPALS,
  REQUEST_TIMEOUT_MS,
  SSE_AFTER_MS,
} from "./routing_commands.ts";

/** One session: what its client did and what its server saw. */
export class Party {
  /** Where the client's requests are answered, oldest first. */
  readonly channels: Channel[] = [];
  /** The client's GET stream, the newest. */
  standalone: Channel | undefined;
  /** How much of what the server received was taken note of here, and told as news; `initialize` is neither. */
  received = 1;
  looked = 1;
  /** Requests that the server has not answered, oldest first; it may know that they were cancelled. */
  unanswered: RequestId[] = [];
  deleted = false;
  /** Characters that its server said. */
  toldChars = 0;

  constructor(
    readonly no: number,
    readonly opening: Opening,
    readonly sessionId: string,
    readonly backend: FakeBackend,
  ) {}

  /** Channels on which something may still come. */
  get live(): Channel[] {
    return this.channels.filter(({ ended, gone }) => !ended && !gone);
  }
}

/** What was done to a session, for whoever knows what has to come of it. */
export type Deed =
  | { readonly did: "nothing" | "delete" | "exit" }
  | { readonly did: "post" | "get" | "trespass"; readonly channel: Channel }
  | { readonly did: "say"; readonly texts: readonly string[] };

/** The application with several principals. Each one's token is its name. */
export function routingApp(): AppHarness {
  return new AppHarness({
    autoInitialize: false,
    // Nothing expires: when sessions end is another property's subject.
    limits: {
      idleTtlMs: 0,
      stateful: true,
      requestTimeoutMs: REQUEST_TIMEOUT_MS,
      clientReplyTimeoutMs: CLIENT_REPLY_TIMEOUT_MS,
      sseAfterMs: SSE_AFTER_MS,
    },
    access: (clock) =>
      new Access({
        clock,
        tokenRequired: true,
        tokens: PRINCIPALS.map((principal) => ({
          principal,
          digest: digestOf(principal),
          servers: undefined,
          expiresAtMs: undefined,
        })),
        allowedOrigins: [],
        allowedHosts: [],
        onLoopback: true,
      }),
  });
}
