/**
 * Waiting that can be ended: for a while, for room, for all that was begun.
 *
 * @module
 */
import type { Cancel, Clock } from "../../clock.ts";

/** Resolves after so many ms, or at once when the signal aborts. */
export function sleep(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const end = () => {
      cancel();
      signal.removeEventListener("abort", end);
      resolve();
    };
    const cancel = clock.after(ms, end);
    signal.addEventListener("abort", end);
  });
}

/** A signal of one's own that aborts with others. */
export interface Joined {
  readonly signal: AbortSignal;
  abort(): void;
  /** Lets go of the others. It does not abort with them any more. */
  end(): void;
}

/** Joins signals that live longer than what this one is for: `AbortSignal.any` would leave something with each of them. */
export function joined(...others: AbortSignal[]): Joined {
  const controller = new AbortController();
  const abort = () => controller.abort();
  for (const other of others) {
    if (other.aborted) abort();
    else other.addEventListener("abort", abort);
  }
  return {
    signal: controller.signal,
    abort,
    end: () => others.forEach((other) => other.removeEventListener("abort", abort)),
  };
}

/** Resolves with the promise, or when the signal aborts. Never rejects. */
export function settledOr(promise: Promise<unknown>, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const end = () => {
      signal.removeEventListener("abort", end);
      resolve();
    };
    signal.addEventListener("abort", end);
    promise.then(end, end);
  });
}

/** A door that readers pass before each read. */
export class Gate {
  /** Set while it is shut. */
  #shut: PromiseWithResolvers<void> | undefined;

  /** Whether it is shut. */
  get isShut(): boolean {
    return this.#shut !== undefined;
  }

  shut(): void {
    this.#shut ??= Promise.withResolvers();
  }

  open(): void {
    this.#shut?.resolve();
    this.#shut = undefined;
  }

  /** Resolves as soon as it is open. */
  async pass(): Promise<void> {
    while (this.#shut !== undefined) await this.#shut.promise;
  }
}

/** What was begun and has not ended. */
export class Tasks {
  readonly #open = new Set<Promise<void>>();
  readonly #onFault: (error: unknown) => void;

  /** @param onFault Gets what a task throws. They see to their own errors, so it is a fault. */
  constructor(onFault: (error: unknown) => void) {
    this.#onFault = onFault;
  }

  /** How many there are. */
  get size(): number {
    return this.#open.size;
  }

  /** Begins one. */
  run(task: () => Promise<void>): void {
    const running: Promise<void> = task().catch(this.#onFault).finally(() => this.#open.delete(running));
    this.#open.add(running);
  }

  /** Resolves when none is left. */
  async ended(): Promise<void> {
    while (this.#open.size > 0) await Promise.all(this.#open);
  }
}

/** The earliest of all the ends that were asked for. */
export class Deadline {
  readonly #clock: Clock;
  readonly #controller = new AbortController();
  #at = Infinity;
  #cancel: Cancel = () => {};

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Aborts when it has come. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** It comes in so many ms at the latest. */
  within(ms: number): void {
    const at = this.#clock.now() + ms;
    if (at >= this.#at) return;
    this.#at = at;
    this.#cancel();
    this.#cancel = this.#clock.after(ms, () => this.#controller.abort());
  }

  /** It does not come any more. */
  end(): void {
    this.#at = -Infinity;
    this.#cancel();
  }
}
