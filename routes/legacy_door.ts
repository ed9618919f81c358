/**
 * The door of a client that speaks HTTP+SSE (revision 2024-11-05): one stream of events on which everything goes out to
 * it, and a URL to which it POSTs everything.
 *
 * ## A door's life
 *
 * A GET opens the door, and the first message POSTed to it opens its session. From then on the two go together:
 *
 * - The session is over: the stream is ended.
 * - The stream is over, because its client hung up or does not read: nobody can come back to it, so the session ends with
 *   `client_gone`, at once where nothing is in flight, else when the last of its requests is done. A lost connection takes
 *   back no request, here as elsewhere.
 *
 * A door without a session is closed after `INITIALIZE_MS`.
 *
 * ## Answers
 *
 * A POST is answered with 202 once its message is on its way to the server, and with the error's status where it was
 * refused before. Whatever comes later, the answer or an error in its place, is an event.
 *
 * @module
 */
import type { ClientStream, Reply, StreamWatch } from "../actors/client.ts";
import type { Session, Supervisor } from "../actors/supervisor.ts";
import type { Cancel } from "../clock.ts";
import { type Failure, rpcErrorText } from "../errors.ts";
import type { Message, RequestId } from "../protocol/jsonrpc.ts";
import { sseNamed } from "../protocol/sse.ts";
import { rpcErrorResponse } from "./http_reply.ts";
import type { HandedOn } from "./mcp.ts";
import type { StreamPolicy } from "./outflow.ts";
import { SseStream } from "./sse_stream.ts";

/** After how long a door is closed through which nobody came, in ms. */
export const INITIALIZE_MS = 30_000;
const ACCEPTED = 202;

/** How to make a {@link LegacyDoor}. */
export interface LegacyDoorOptions {
  /** The credential in the URL to POST to. Never logged. */
  readonly id: string;
  readonly serverId: string;
  readonly principal: string;
  readonly supervisor: Supervisor;
  readonly policy: StreamPolicy;
  /** Called once, when the stream is over. */
  readonly onClosed: () => void;
}

/** What comes with a message. */
interface Posted {
  /** The version with which the gateway initializes in the client's place, where the client does not; undefined where it has to. */
  readonly implicitVersion: string | undefined;
  readonly handedOn: HandedOn;
}

/** See the module's documentation. */
export class LegacyDoor {
  readonly serverId: string;
  readonly principal: string;
  readonly #supervisor: Supervisor;
  readonly #policy: StreamPolicy;
  readonly #onClosed: () => void;
  readonly #stream: SseStream;
  #cancelTimer: Cancel;
  /** The id of its session, which its client never learns. */
  #sessionId: string | undefined;
  /** The reply to the message that opens the session, until that is on its way to the server. */
  #opener: LegacyReply | undefined;
  /** Replies that are not complete. */
  readonly #replies = new Set<LegacyReply>();
  #closed = false;

  constructor({ id, serverId, principal, supervisor, policy, onClosed }: LegacyDoorOptions) {
    this.serverId = serverId;
    this.principal = principal;
    this.#supervisor = supervisor;
    this.#policy = policy;
    this.#onClosed = onClosed;
    this.#stream = new SseStream(policy, () => this.#onGone());
    this.#stream.write(sseNamed("endpoint", `/messages?sessionId=${id}`));
    this.#cancelTimer = policy.clock.after(INITIALIZE_MS, this.#onTime);
  }

  /** What the client reads. */
  get body(): ReadableStream<Uint8Array> {
    return this.#stream.body;
  }

  /** Whether nobody came through it yet. */
  get unused(): boolean {
    return this.#sessionId === undefined;
  }

  /** Undefined until it was opened, and when nothing is left of it. */
  get session(): Session | undefined {
    if (this.#sessionId === undefined) return undefined;
    return this.#supervisor.find(this.serverId, this.#sessionId, this.principal);
  }

  /**
   * The client POSTed a message.
   */
  async post(
    message: Message,
    { implicitVersion, handedOn }: Posted,
  ): Promise<Response> {
    const reply = new LegacyReply(this, message.kind === "request" ? message.id : null);
    this.#replies.add(reply);
    if (this.#closed) reply.fail({ code: "sessionNotFound" });
    else if (this.#sessionId !== undefined) {
      const { session } = this;
      if (session === undefined) reply.fail({ code: "sessionNotFound" });
      else session.post({ tag: "message", message, reply, ...handedOn });
    } else this.#open(message, reply, { implicitVersion, handedOn });
    return await reply.response;
  }

  #open(message: Message, reply: LegacyReply, { implicitVersion, handedOn }: Posted): void {
    if (this.#opener !== undefined) return reply.fail({ code: "inboxFull", detail: "it is being opened" });
    const isInitialize = message.kind === "request" && message.method === "initialize";
    if (!isInitialize && (message.kind !== "request" || implicitVersion === undefined)) {
      return reply.fail({ code: "notInitialized" });
    }
    this.#opener = reply;
    this.#supervisor.open({
      serverId: this.serverId,
      principal: this.principal,
      kind: "sse",
      opener: { tag: "message", message, reply, ...handedOn },
      implicitVersion: isInitialize ? undefined : implicitVersion,
    });
  }

  /** Ends the stream behind what waits in it. */
  close(): void {
    this.#stream.close();
    this.#onGone();
  }

  /** For its replies: the session that was opened, or undefined where it is none after all. */
  named(sessionId: string | undefined): void {
    this.#sessionId = sessionId;
  }

  /** For its replies: a message is on its way to the server. */
  watched(reply: LegacyReply, watch: StreamWatch): void {
    this.#stream.watch(watch);
    if (reply !== this.#opener) return;
    this.#opener = undefined;
    this.#cancelTimer();
    // What belongs to no request goes out on the same stream, and whoever ends the session ends that.
    this.session?.post({
      tag: "stream",
      stream: new DoorStream(this.#stream, () => this.close()),
      reply: { accept: () => {}, fail: () => this.close() },
    });
  }

  /** For its replies. */
  get stream(): SseStream {
    return this.#stream;
  }

  /** For its replies: one is complete. */
  completed(reply: LegacyReply): void {
    this.#replies.delete(reply);
    // It was refused and opened nothing: the client may try again.
    if (reply === this.#opener) this.#opener = undefined;
    this.#endUnused();
  }

  readonly #onTime = (): void => {
    if (this.#opener === undefined) return this.close();
    this.#cancelTimer = this.#policy.clock.after(INITIALIZE_MS, this.#onTime);
  };

  /** The stream is over, whoever ended it. */
  #onGone(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#cancelTimer();
    this.#onClosed();
    for (const reply of this.#replies) reply.doorClosed();
    this.#endUnused();
  }

  /** Nobody can get at the session any more, and no request of theirs is in flight. */
  #endUnused(): void {
    if (!this.#closed || this.#replies.size > 0) return;
    const { session } = this;
    if (session !== undefined && session.verdict === undefined) void session.end("client_gone");
  }
}

/** Where one POSTed message is answered: the stream of its door. */
class LegacyReply implements Reply {
  readonly response: Promise<Response>;
  readonly resumable = false;
  readonly away = false;
  readonly #door: LegacyDoor;
  readonly #id: RequestId | null;
  /** Undefined once the POST was answered. */
  #resolve: ((response: Response) => void) | undefined;
  #gone: (() => void) | undefined;
  #complete = false;

  constructor(door: LegacyDoor, id: RequestId | null) {
    this.#door = door;
    this.#id = id;
    const { promise, resolve } = Promise.withResolvers<Response>();
    this.response = promise;
    this.#resolve = resolve;
  }

  /** The stream goes on after the answer, and what was said on it may have a sequel. */
  get open(): boolean {
    return this.#door.stream.open;
  }

  name(sessionId: string | undefined): void {
    this.#door.named(sessionId);
  }

  watch(watch: StreamWatch): void {
    this.#door.watched(this, watch);
    this.#settle(new Response(null, { status: ACCEPTED }));
  }

  accept(): void {
    this.#settle(new Response(null, { status: ACCEPTED }));
    this.#finish();
  }

  send(text: string): void {
    if (!this.#complete) this.#door.stream.send(text);
  }

  answer(text: string): void {
    this.send(text);
    this.#finish();
  }

  fail(failure: Failure): void {
    if (this.#complete) return;
    if (this.#resolve === undefined) this.send(rpcErrorText(failure, this.#id));
    else this.#settle(rpcErrorResponse(failure, this.#id));
    this.#finish();
  }

  close(): void {
    this.fail({ code: "sessionNotFound" });
  }

  whenGone(gone: () => void): void {
    this.#gone = gone;
  }

  /** Its client is gone. What it asked for goes on; an opening that waits for room does not. */
  doorClosed(): void {
    if (this.#resolve === undefined) return;
    this.#settle(rpcErrorResponse({ code: "sessionNotFound" }, this.#id));
    this.#gone?.();
  }

  // The stream is there already, cannot be resumed, and is nobody's alone.
  stream(): void {}
  record(): void {}
  replay(): void {}
  resume(): void {}
  drop(): void {}

  #settle(response: Response): void {
    this.#resolve?.(response);
    this.#resolve = undefined;
  }

  #finish(): void {
    if (this.#complete) return;
    this.#complete = true;
    this.#door.completed(this);
  }
}

/** The same stream as the session's standalone one. */
class DoorStream implements ClientStream {
  readonly resumable = false;
  readonly away = false;

  constructor(readonly stream: SseStream, readonly close: () => void) {}

  get open(): boolean {
    return this.stream.open;
  }

  send(text: string): void {
    this.stream.send(text);
  }

  watch(watch: StreamWatch): void {
    this.stream.watch(watch);
  }

  record(): void {}
  replay(): void {}

  drop(): void {
    this.close();
  }
}
