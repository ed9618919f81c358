/**
 * The backend of one session on a child that it shares: what the client says goes out under ids and tokens of the
 * child's, and what comes back for it comes under its own again.
 *
 * | what the client sends | what becomes of it |
 * | --- | --- |
 * | `initialize` | answered by the child's own answer, under the client's id |
 * | `notifications/initialized` | goes nowhere: the child had one |
 * | a request | sent under an id of the child's, its progress token replaced by the same |
 * | `resources/subscribe`, `…/unsubscribe` | sent where that changes anything for the child (`subscriptions.ts`) |
 * | `logging/setLevel` | the same (`log_levels.ts`) |
 * | `tasks/…`, a request that asks for a task | refused: a task outlives its request and names no session |
 * | `notifications/cancelled` | sent under the child's id, if the request is in flight |
 * | `notifications/progress`, an answer | sent if it concerns a request that the child sent to this session |
 * | `notifications/roots/list_changed`, `notifications/tasks/…` | goes nowhere: the child was told of no such thing |
 * | a message that can be read in two ways | refused, see `members.ts` |
 *
 * A session that is paused keeps what comes for it, up to {@link MAX_UNREAD_CHARS}. Beyond that it is cut off, because
 * the child cannot be stopped for one session without stopping all.
 *
 * @module
 */
import { type Failure, rpcErrorText } from "../errors.ts";
import {
  encodeResult,
  type Message,
  type NotificationMessage,
  parseMessage,
  type RequestId,
  type RequestMessage,
} from "../protocol/jsonrpc.ts";
import type { Backend, BackendEvents, BackendExit, BackendOwner } from "./backend.ts";
import { MAX_HELD_CHARS } from "./gated.ts";
import { findMembers, type Members } from "./members.ts";
import type { SharedChild } from "./shared_child.ts";

/** What may wait for a session that is paused, in UTF-16 units. A message that waits alone may be larger. */
export const MAX_UNREAD_CHARS = 4 * 1024 * 1024;

/** What a message of the client's tells the child: whose it is, and where in its text it says so. */
export interface Outgoing<Kind extends Message> {
  readonly session: SharedSession;
  readonly message: Kind;
  readonly members: Members;
}

/** See the module's documentation. */
export class SharedSession implements Backend {
  /** Its public handle, for the log. */
  readonly handle: string;
  readonly #child: SharedChild;
  readonly #events: BackendEvents;
  /** What it was sent before the child was ready; undefined from then on. */
  #held: string[] | undefined;
  #heldChars = 0;
  #paused = false;
  /** What came while it was paused; read from `#readAt` on. */
  #unread: Message[] = [];
  #readAt = 0;
  #unreadChars = 0;
  /** Whether what waited is being read just now: what comes goes behind it. */
  #reading = false;
  /** Set from the end on: nothing is sent or reported any more but the exit. */
  #over = false;
  #closing: Promise<void> | undefined;

  constructor(
    child: SharedChild,
    { owner, events }: { readonly owner: BackendOwner; readonly events: BackendEvents },
  ) {
    this.handle = owner.session;
    this.#child = child;
    this.#events = events;
    this.#held = child.isReady ? undefined : [];
    child.join(this);
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Of all sessions together: they share the pipe, and who does not read it is the child. */
  get queuedBytes(): number {
    return this.#held === undefined ? this.#child.queuedBytes : this.#heldChars;
  }

  send(text: string): boolean {
    if (this.#over) return false;
    if (this.#held === undefined) {
      this.#take(text);
      return true;
    }
    if (this.#heldChars + text.length > MAX_HELD_CHARS) {
      const detail = `was sent more than ${MAX_HELD_CHARS / 1024 / 1024} MiB before it was ready`;
      this.#leave();
      queueMicrotask(() => this.#events.exit({ cause: "cut", detail }));
      return false;
    }
    this.#held.push(text);
    this.#heldChars += text.length;
    return true;
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    queueMicrotask(() => this.#readOn());
  }

  close(): Promise<void> {
    return this.#closing ??= Promise.resolve(
      this.#over
        ? undefined
        : this.#leave().then(() => this.#events.exit({ cause: "exit", detail: "was closed" })),
    );
  }

  /** The child has answered `initialize`. Called by the child, once. */
  begin(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    this.#heldChars = 0;
    for (const text of held) this.#take(text);
  }

  /** Something came for this session. Called by the child. */
  deliver(message: Message): void {
    if (this.#over) return;
    if (!this.#paused && !this.#reading && this.#unread.length === 0) return this.#events.message(message);
    if (!this.#keep(message)) this.#cut();
  }

  /** The same for an answer in the child's place, from inside {@link send}. */
  answer(text: string): void {
    const message = parseMessage(text);
    if (message.kind === "malformed") throw new TypeError(`Cannot answer: ${message.detail}`);
    // Kept at once, so that it comes before whatever the child says, or its exit.
    const isKept = this.#keep(message);
    queueMicrotask(() => isKept ? this.#readOn() : this.#cut());
  }

  /** Its request is done, and the child has nothing to do with it. */
  done(id: RequestId): void {
    this.answer(encodeResult(id, {}));
  }

  /** The child is gone. Called by the child, once. */
  exit(exit: BackendExit): void {
    if (this.#over) return;
    const unread = this.#unread.slice(this.#readAt);
    this.#unread = [];
    for (const message of unread) this.#events.message(message);
    this.#over = true;
    this.#events.exit(exit);
  }

  #take(text: string): void {
    const message = parseMessage(text);
    if (message.kind === "malformed") return;
    const members = findMembers(message.text);
    if (members.doubtful !== undefined) return this.#refuseDoubtful(message, members.doubtful);
    switch (message.kind) {
      case "request":
        return this.#takeRequest({ session: this, message, members });
      case "notification":
        return this.#takeNotification({ session: this, message, members });
      case "response":
        return this.#child.answer(this, message);
    }
  }

  #takeRequest(outgoing: Outgoing<RequestMessage>): void {
    const { id, method, params } = outgoing.message;
    if (method === "initialize") return this.answer(this.#child.greeting(id));
    if (method.startsWith("tasks/")) return this.#refuse(id, { code: "notShared", detail: method });
    if (params?.task !== undefined) {
      return this.#refuse(id, { code: "notShared", detail: `${method} as a task` });
    }
    switch (method) {
      case "resources/subscribe":
        return this.#child.wishes.subscribe(outgoing);
      case "resources/unsubscribe":
        return this.#child.wishes.unsubscribe(outgoing);
      case "logging/setLevel":
        return this.#child.wishes.setLevel(outgoing);
      default:
        return this.#child.ask(outgoing);
    }
  }

  #takeNotification(outgoing: Outgoing<NotificationMessage>): void {
    const { method, text } = outgoing.message;
    switch (method) {
      case "notifications/initialized":
      case "notifications/roots/list_changed":
        return;
      case "notifications/cancelled":
        return this.#child.cancel(outgoing);
      case "notifications/progress":
        return this.#child.progress(outgoing);
    }
    if (!method.startsWith("notifications/tasks/")) this.#child.tell(text);
  }

  #refuseDoubtful(message: Message, path: string): void {
    const failure: Failure = {
      code: "doubtfulMessage",
      detail: `"${path}" is there twice, or in another spelling`,
    };
    if (message.kind === "request") this.#refuse(message.id, failure);
    // The server would wait for its answer for ever.
    else if (message.kind === "response") {
      this.#child.answer(this, message, rpcErrorText(failure, message.id));
    }
  }

  #refuse(id: RequestId, failure: Failure): void {
    this.answer(rpcErrorText(failure, id));
  }

  /** @returns False where that would be too much. */
  #keep(message: Message): boolean {
    const { length } = message.text;
    if (this.#unreadChars > 0 && this.#unreadChars + length > MAX_UNREAD_CHARS) return false;
    this.#unread.push(message);
    this.#unreadChars += length;
    return true;
  }

  #readOn(): void {
    this.#reading = true;
    while (this.#readAt < this.#unread.length && !this.#paused && !this.#over) {
      const message = this.#unread[this.#readAt++]!;
      this.#unreadChars -= message.text.length;
      this.#events.message(message);
    }
    this.#reading = false;
    this.#unread.splice(0, this.#readAt);
    this.#readAt = 0;
  }

  #cut(): void {
    if (this.#over) return;
    const detail = `was left: its client did not read more than ${MAX_UNREAD_CHARS / 1024 / 1024} MiB ` +
      "of what it said, and others share it";
    void this.#leave();
    this.#events.exit({ cause: "cut", detail });
  }

  /** Leaves the child. In the same turn nothing more is sent or reported. */
  async #leave(): Promise<void> {
    this.#over = true;
    this.#held = undefined;
    this.#unread = [];
    this.#child.leave(this);
    await Promise.resolve();
  }
}
