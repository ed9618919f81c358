/**
 * A backend that waits for its turn to start.
 *
 * To its session it is open at once. What it is sent meanwhile is kept in order and counts as queued, so the session
 * sees a server that does not read yet, and its time for the start runs. Closed before its turn it never starts:
 * the exit is reported like any other, in a later turn.
 *
 * @module
 */
import type { Message } from "../protocol/jsonrpc.ts";
import type { Backend, BackendEvents, BackendExit, BackendOwner, ClosePace, OpenBackend } from "./backend.ts";
import type { SpawnGate, Ticket } from "./spawn_gate.ts";

/**
 * What may wait to be sent, in UTF-16 units. A session stops long before; this is for one that does not ask.
 */
export const MAX_HELD_CHARS = 64 * 1024 * 1024;

/** Opens backends when their turn has come. They are sessions', and go before children that are started ahead. */
export function gated(open: OpenBackend, gate: SpawnGate): OpenBackend {
  return (owner, events) => new GatedBackend(open, owner, { gate, events });
}

class GatedBackend implements Backend {
  readonly #events: BackendEvents;
  readonly #ticket: Ticket;
  /** Undefined until its turn. */
  #inner: Backend | undefined;
  /** What it was sent before its turn. */
  #held: string[] = [];
  #heldChars = 0;
  #paused = false;
  /** Whether its server has answered, or never will: the start is over. */
  #started = false;
  /** How a backend that never started was reported to have ended. */
  #over: Promise<void> | undefined;

  constructor(
    open: OpenBackend,
    owner: BackendOwner,
    { gate, events }: { readonly gate: SpawnGate; readonly events: BackendEvents },
  ) {
    this.#events = events;
    this.#ticket = gate.enter("session", (ticket) => this.#begin(open, { owner, ticket }));
  }

  get pid(): number | undefined {
    return this.#inner?.pid;
  }

  get queuedBytes(): number {
    return this.#inner?.queuedBytes ?? this.#heldChars;
  }

  send(text: string): boolean {
    if (this.#inner !== undefined) return this.#inner.send(text);
    if (this.#over !== undefined) return false;
    if (this.#heldChars + text.length > MAX_HELD_CHARS) {
      void this.#giveUp(`was sent more than ${MAX_HELD_CHARS / 1024 / 1024} MiB before its turn to start`);
      return false;
    }
    this.#held.push(text);
    this.#heldChars += text.length;
    return true;
  }

  pause(): void {
    this.#paused = true;
    this.#inner?.pause();
  }

  resume(): void {
    this.#paused = false;
    this.#inner?.resume();
  }

  close(pace?: ClosePace): Promise<void> {
    return this.#inner?.close(pace) ?? this.#giveUp("was closed before its turn to start");
  }

  #begin(
    open: OpenBackend,
    { owner, ticket }: { readonly owner: BackendOwner; readonly ticket: Ticket },
  ): void {
    const end = () => {
      if (this.#started) return;
      this.#started = true;
      ticket.leave();
    };
    this.#inner = open(owner, {
      message: (message: Message) => {
        // The first answer is the one to `initialize`: nothing else may be asked before.
        if (message.kind === "response") end();
        this.#events.message(message);
      },
      garbage: (excerpt) => this.#events.garbage(excerpt),
      exit: (exit: BackendExit) => {
        end();
        this.#events.exit(exit);
      },
    });
    if (this.#paused) this.#inner.pause();
    for (const text of this.#held.splice(0)) this.#inner.send(text);
    this.#heldChars = 0;
  }

  /** Its turn never comes. */
  #giveUp(detail: string): Promise<void> {
    return this.#over ??= (async () => {
      this.#ticket.leave();
      this.#held = [];
      this.#heldChars = 0;
      await Promise.resolve();
      this.#events.exit({ cause: "spawn", detail });
    })();
  }
}
