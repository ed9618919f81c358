/**
 * The client's side of a session, over arrays.
 *
 * @module
 */
import type { ClientStream, LoggedEvent, Reply, StreamLog, StreamWatch } from "../../actors/client.ts";
import type { ErrorCode, Failure } from "../../errors.ts";

/** A stream that remembers what was sent on it. */
export class FakeStream implements ClientStream {
  readonly sent: string[] = [];
  open = true;
  /** Who wants to know how the reader keeps up. A test tells it, in the reader's place. */
  watcher: StreamWatch | undefined;

  watch(watch: StreamWatch): void {
    this.watcher = watch;
  }

  /** What the session numbers and keeps; undefined where it does not. */
  log: StreamLog | undefined;
  /** Ids of what was sent, where it has any. */
  readonly ids: string[] = [];

  record(begin: () => StreamLog): void {
    this.log = begin();
  }

  get resumable(): boolean {
    return this.log !== undefined;
  }

  /** Whether its connection was ended on purpose. */
  away = false;

  replay(log: StreamLog, missed: readonly LoggedEvent[]): void {
    this.log = log;
    for (const { id, text } of missed) this.#take(text, id);
  }

  drop(): void {
    this.open = false;
  }

  send(text: string): void {
    this.#take(text, this.log?.add(text));
  }

  #take(text: string, id: string | undefined): void {
    if (!this.open) return;
    this.sent.push(text);
    if (id !== undefined) this.ids.push(id);
  }

  close(): void {
    this.open = false;
    this.log?.finish();
  }

  /** The client hangs up. */
  hangUp(): void {
    this.open = false;
  }

  /** What was sent, parsed. */
  get messages(): Record<string, unknown>[] {
    return this.sent.map((text) => JSON.parse(text));
  }
}

/** A reply that remembers how it was completed, and fails the test when that happens twice. */
export class FakeReply extends FakeStream implements Reply {
  sessionId: string | undefined;
  streaming = false;
  completion:
    | { kind: "accepted" }
    | { kind: "answered"; text: string }
    | { kind: "failed"; failure: Failure }
    | undefined;
  /** How often something tried to complete it. */
  completions = 0;
  #gone: (() => void) | undefined;

  name(sessionId: string | undefined): void {
    this.sessionId = sessionId;
  }

  whenGone(gone: () => void): void {
    this.#gone = gone;
  }

  // Whoever wants to see a reply resumed takes the real one, over the application.
  override record(): void {}

  resume(): void {}

  override hangUp(): void {
    super.hangUp();
    this.#gone?.();
  }

  accept(): void {
    this.#complete({ kind: "accepted" });
  }

  stream(): void {
    this.streaming = true;
  }

  override send(text: string): void {
    this.streaming = true;
    super.send(text);
  }

  answer(text: string): void {
    this.#complete({ kind: "answered", text });
  }

  fail(failure: Failure): void {
    this.#complete({ kind: "failed", failure });
  }

  /** The code it failed with; undefined when it did not. */
  get failed(): ErrorCode | undefined {
    return this.completion?.kind === "failed" ? this.completion.failure.code : undefined;
  }

  /** The answer, parsed; undefined when there is none. */
  get answered(): Record<string, unknown> | undefined {
    return this.completion?.kind === "answered" ? JSON.parse(this.completion.text) : undefined;
  }

  #complete(completion: NonNullable<FakeReply["completion"]>): void {
    this.completions++;
    this.completion ??= completion;
    this.open = false;
  }
}
