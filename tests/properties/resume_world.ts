/**
 * What is tested: sessions behind the real routes; and conversations with the routes' real streams, which can be
 * exported and restored in between.
 *
 * @module
 */
import { assert } from "@std/assert";
import { Conversation, type ConversationPort } from "../../actors/conversation.ts";
import { parseMessage, type RequestId } from "../../protocol/jsonrpc.ts";
import { HttpReply, rpcErrorResponse } from "../../routes/http_reply.ts";
import type { StreamPolicy } from "../../routes/outflow.ts";
import { SseStream } from "../../routes/sse_stream.ts";
import { AppHarness, type OpenedSession } from "../fakes/app_harness.ts";
import { FakeClock } from "../fakes/fake_clock.ts";
import { LIMITS } from "../fakes/harness.ts";

/** Responses are ended after so long. */
export const MAX_MS = 10_000;
/** Readers that stop are another test's subject. */
const STREAMS = { maxMs: MAX_MS, maxBufferBytes: 1e9 };

/** One session, from outside. */
export interface Peer {
  /** The client POSTs a request. */
  post(text: string, id: RequestId): Promise<Response>;
  /** The client GETs, maybe for the rest of a stream. */
  get(lastEventId?: string): Promise<Response>;
  /** The server says something. */
  says(message: Record<string, unknown>): void;
  /** Everything begins anew, with what was kept or without. Undefined where that cannot be done. */
  readonly restart?: (kept: boolean) => void;
}

/** Some sessions on one clock. */
export interface World {
  readonly peers: readonly Peer[];
  readonly clock: FakeClock;
  /** Ends everything, and fails if something is left. */
  stop(): Promise<void>;
}

/** Sessions behind the real routes. */
export async function routesWorld(size: number): Promise<World> {
  const app = new AppHarness({
    autoInitialize: false,
    limits: { sseAfterMs: 0, idleTtlMs: 1e9 },
    streams: STREAMS,
  });
  const peers: Peer[] = [];
  for (let n = 0; n < size; n++) peers.push(routesPeer(app, await app.open("2025-11-25")));
  return { peers, clock: app.harness.clock, stop: () => app.stop() };
}

function routesPeer(app: AppHarness, { backend, headers }: OpenedSession): Peer {
  return {
    post: (text) => app.post(JSON.parse(text), headers),
    get: (lastEventId) => {
      const last = lastEventId === undefined ? undefined : { "last-event-id": lastEventId };
      return app.send("GET", { headers: { accept: "text/event-stream", ...headers, ...last } });
    },
    says: (message) => backend.says(message),
  };
}

/** Conversations with the routes' streams. */
export function conversationsWorld(size: number): World {
  const clock = new FakeClock();
  const policy: StreamPolicy = { clock, stallMs: 1e9, cuts: 0, ...STREAMS };
  const peers = Array.from({ length: size }, () => new ConversationPeer(policy));
  return {
    peers,
    clock,
    stop: async () => {
      for (const peer of peers) peer.close();
      await clock.advance(0);
      assert(clock.pending === 0, "timers are left");
    },
  };
}

const PORT: ConversationPort<undefined> = {
  send: () => {},
  isBusy: () => false,
  full: () => {},
  room: () => {},
  cut: () => {},
};

class ConversationPeer implements Peer {
  readonly #policy: StreamPolicy;
  #conversation: Conversation<undefined>;

  constructor(policy: StreamPolicy) {
    this.#policy = policy;
    this.#conversation = this.#begin();
  }

  get #now(): number {
    return this.#policy.clock.now();
  }

  /** @param streams What an earlier run left; undefined where there was none. */
  #begin(streams?: () => string | undefined): Conversation<undefined> {
    const conversation = new Conversation<undefined>({
      owner: undefined,
      port: PORT,
      handle: "h",
      limits: { ...LIMITS, sseAfterMs: 0 },
      lastUsed: this.#now,
      streams,
    });
    conversation.makeResumable();
    return conversation;
  }

  post(text: string, id: RequestId): Promise<Response> {
    const reply = new HttpReply(this.#policy, id);
    const message = parseMessage(text);
    assert(message.kind === "request");
    const now = this.#now;
    const refused = this.#conversation.request(message, reply, { now, timeoutMs: Infinity });
    if (refused !== undefined) reply.fail(refused);
    else this.#conversation.onTime(now);
    return reply.response;
  }

  get(lastEventId?: string): Promise<Response> {
    const stream = new SseStream(this.#policy);
    const refused = lastEventId === undefined
      ? this.#conversation.openStream(stream, this.#now)
      : this.#conversation.resume(lastEventId, stream, this.#now);
    if (refused !== undefined) stream.discard();
    return Promise.resolve(
      refused !== undefined
        ? rpcErrorResponse(refused, null)
        : stream.done
        ? new Response(null, { status: 204 })
        : new Response(stream.body),
    );
  }

  says(fields: Record<string, unknown>): void {
    const message = parseMessage(JSON.stringify({ jsonrpc: "2.0", ...fields }));
    assert(message.kind === "response" || message.kind === "notification");
    if (message.kind === "response") this.#conversation.serverAnswered(message, this.#now);
    else this.#conversation.serverTold(message, this.#now);
  }

  restart(kept: boolean): void {
    const streams = kept ? this.#conversation.suspend({ code: "interrupted" }) : undefined;
    this.close();
    this.#conversation = this.#begin(() => streams);
  }

  close(): void {
    this.#conversation.close({ code: "shuttingDown" });
  }
}
