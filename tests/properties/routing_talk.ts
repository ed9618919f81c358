/**
 * What is believed of one session: what is in flight in either direction, what is kept, and what has to come where.
 *
 * @module
 */
import type { RequestId } from "../../protocol/jsonrpc.ts";
import type { Line } from "./routing_line.ts";
import type { Party } from "./routing_party.ts";

/** What is kept for want of a stream; over either, the oldest goes. */
const MAX_KEPT_MESSAGES = 256;
const MAX_KEPT_CHARS = 1024 * 1024;

/** A request of the client in flight. Times are ms of the clock. */
export interface Asked {
  readonly id: RequestId;
  /** Where it is answered. */
  readonly line: Line;
  readonly at: number;
  readonly token: RequestId | undefined;
  readonly task: string | undefined;
}

/** A request of the server that is not answered. */
export interface Question {
  /** When it was asked, then when it was sent to the client. */
  readonly since: number;
  /** Where it went out; undefined while it is kept. */
  readonly line: Line | undefined;
  /** The request of the client whose reply that is, if it is one's. */
  readonly parent: Asked | undefined;
  /** Whether too much was kept for it to stay. */
  dropped: boolean;
}

/** What is believed of one session. */
export class Talk {
  /** In the order in which they were sent. */
  readonly asked = new Map<RequestId, Asked>();
  readonly questions = new Map<RequestId, Question>();
  kept: { readonly text: string; readonly question: RequestId | undefined }[] = [];
  standalone: Line | undefined;
  /** All that its client ever opened. */
  readonly lines: Line[] = [];
  /** What the server has to receive and did not yet, in order. */
  readonly toServer: string[] = [];
  /** Whether the session ended. */
  over = false;

  constructor(readonly party: Party) {}

  /** A question went out. */
  delivered(id: RequestId, at: { line: Line; parent?: Asked | undefined; since: number }): void {
    this.questions.set(id, { parent: undefined, dropped: false, ...at });
  }

  withToken(token: RequestId): Asked[] {
    return [...this.asked.values()].filter((asked) => asked.token === token);
  }

  withTask(task: string): Asked[] {
    return [...this.asked.values()].filter((asked) => asked.task === task);
  }

  /** Whether any of what is kept has to go, oldest first. */
  get keepsTooMuch(): boolean {
    const chars = this.kept.reduce((sum, { text }) => sum + text.length, 0);
    return this.kept.length > MAX_KEPT_MESSAGES || chars > MAX_KEPT_CHARS;
  }
}
