/**
 * What the server said while its client had no stream open: kept, bounded, for the next standalone stream.
 *
 * @module
 */
import type { RequestId } from "../protocol/jsonrpc.ts";

/** Bounds of what is kept. Over either, the oldest goes. */
const MAX_KEPT_MESSAGES = 256;
const MAX_KEPT_CHARS = 1024 * 1024;

/** One message that waits for a stream. */
export interface KeptMessage {
  readonly text: string;
  /** Set where the message is a request: its sender must be told if it is dropped. */
  readonly questionId: RequestId | undefined;
}

/** A bounded queue. */
export class Backlog {
  #messages: KeptMessage[] = [];
  #chars = 0;

  get size(): number {
    return this.#messages.length;
  }

  /** Keeps a message and returns those that had to go for it: maybe the message itself. */
  keep(message: KeptMessage): KeptMessage[] {
    const messages = this.#messages;
    messages.push(message);
    this.#chars += message.text.length;
    let dropped = 0;
    while (messages.length - dropped > MAX_KEPT_MESSAGES || this.#chars > MAX_KEPT_CHARS) {
      this.#chars -= messages[dropped++]!.text.length;
    }
    return messages.splice(0, dropped);
  }

  /** Forgets a kept request, because it was answered by time or taken back. */
  forget(questionId: RequestId): void {
    const at = this.#messages.findIndex((message) => message.questionId === questionId);
    if (at >= 0) this.#chars -= this.#messages.splice(at, 1)[0]!.text.length;
  }

  /** The texts of those that are no requests, oldest first. They stay. */
  notifications(): string[] {
    return this.#messages.filter(({ questionId }) => questionId === undefined).map(({ text }) => text);
  }

  /** Returns everything, oldest first, and is empty. */
  takeAll(): KeptMessage[] {
    const all = this.#messages;
    this.#messages = [];
    this.#chars = 0;
    return all;
  }
}
