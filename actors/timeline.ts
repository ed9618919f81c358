/**
 * What happened in the life of one session, and how much went through it.
 *
 * What happens in every life is a number here and becomes an entry only when somebody reads it; an idle session
 * pays for nothing else. What is rarer is kept as an entry, bounded: where there are too many, those in the middle go.
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import type { Message } from "../protocol/jsonrpc.ts";

/** Entries kept beside those that are made from numbers. */
const MAX_ENTRIES = 32;
/** How many of them are the first ones; the others are the last ones. */
const FIRST_ENTRIES = 8;

/** The longest name of a method that is kept: clients choose it, and a tombstone keeps it for long. */
const MAX_METHOD_CHARS = 100;

/** What can happen to a session. */
export type TimelineEvent =
  | "opened"
  | "active"
  | "first_request"
  | "peak_in_flight"
  | "deadline_moved"
  | "pinged"
  | "hibernated"
  | "revived"
  | "expired"
  | "swept"
  | "ended";

/** One line of a timeline. */
export interface TimelineEntry {
  /** In ms since the Unix epoch. */
  readonly at: number;
  readonly event: TimelineEvent;
  readonly detail?: string;
}

/** A timeline as it is written down. */
export interface TimelineState {
  readonly openedAt: number;
  /** In ms since then; -1 for never. */
  readonly activeAfter: number;
  readonly firstRequestAfter: number;
  readonly firstMethod: string;
  readonly peakAfter: number;
  readonly counters: Counters;
  readonly noted: readonly TimelineEntry[];
  readonly skipped: number;
}

/** How much went through a session. */
export interface Counters {
  /** Messages of the client. */
  readonly requests: number;
  readonly notifications: number;
  readonly responses: number;
  /** Messages of the server. */
  readonly serverMessages: number;
  /** The most requests that were in flight at once, in either direction. */
  readonly peakInFlight: number;
}

/** See the module's documentation. All instants are wall time in ms since the Unix epoch. */
export class Timeline {
  readonly openedAt: number;
  // In ms since it was opened, since whole numbers that are small take no memory of their own; -1 for never.
  #activeAfter = -1;
  #firstRequestAfter = -1;
  #firstMethod = "";
  #peakAfter = 0;
  #peak = 0;
  #requests = 0;
  #notifications = 0;
  #responses = 0;
  #serverMessages = 0;
  #noted: TimelineEntry[] | undefined;
  #skipped = 0;

  /** @param start When the session was opened, or what was written down of it. */
  constructor(start: number | TimelineState) {
    if (typeof start === "number") {
      this.openedAt = start;
      return;
    }
    this.openedAt = start.openedAt;
    this.#activeAfter = start.activeAfter;
    this.#firstRequestAfter = start.firstRequestAfter;
    this.#firstMethod = start.firstMethod;
    this.#peakAfter = start.peakAfter;
    this.#peak = start.counters.peakInFlight;
    this.#requests = start.counters.requests;
    this.#notifications = start.counters.notifications;
    this.#responses = start.counters.responses;
    this.#serverMessages = start.counters.serverMessages;
    this.#noted = start.noted.length > 0 ? [...start.noted] : undefined;
    this.#skipped = start.skipped;
  }

  /** What is to be written down. */
  get state(): TimelineState {
    return {
      openedAt: this.openedAt,
      activeAfter: this.#activeAfter,
      firstRequestAfter: this.#firstRequestAfter,
      firstMethod: this.#firstMethod,
      peakAfter: this.#peakAfter,
      counters: this.counters,
      noted: this.#noted ?? [],
      skipped: this.#skipped,
    };
  }

  /** The server answered `initialize`. */
  active(at: number): void {
    this.#activeAfter = Math.max(0, at - this.openedAt);
  }

  /** The client sent a message. */
  received(kind: Message["kind"]): void {
    if (kind === "request") this.#requests++;
    else if (kind === "notification") this.#notifications++;
    else this.#responses++;
  }

  /** The server sent a message. */
  heardServer(): void {
    this.#serverMessages++;
  }

  /** The client asked for something that is no handshake. */
  used(method: string, clock: Pick<Clock, "wallTime">): void {
    if (this.#firstRequestAfter >= 0) return;
    this.#firstRequestAfter = Math.max(0, clock.wallTime() - this.openedAt);
    // The start of a long one would keep all of it in memory.
    this.#firstMethod = method.length <= MAX_METHOD_CHARS ? method : `a name of ${method.length} characters`;
  }

  /** So many requests are in flight now. */
  inFlight(count: number, clock: Pick<Clock, "wallTime">): void {
    if (count <= this.#peak) return;
    this.#peak = count;
    this.#peakAfter = clock.wallTime() - this.openedAt;
  }

  /** Notes what happens rarely, at its wall time. */
  note(entry: TimelineEntry): void {
    if (this.#noted === undefined) this.#noted = [entry];
    else this.#noted.push(entry);
    if (this.#noted.length <= MAX_ENTRIES) return;
    this.#noted.splice(FIRST_ENTRIES, 1);
    this.#skipped++;
  }

  get counters(): Counters {
    return {
      requests: this.#requests,
      notifications: this.#notifications,
      responses: this.#responses,
      serverMessages: this.#serverMessages,
      peakInFlight: this.#peak,
    };
  }

  /** What happened, oldest first. */
  get entries(): TimelineEntry[] {
    const made: TimelineEntry[] = [{ at: this.openedAt, event: "opened" }];
    if (this.#activeAfter >= 0) made.push({ at: this.openedAt + this.#activeAfter, event: "active" });
    if (this.#firstRequestAfter >= 0) {
      made.push({
        at: this.openedAt + this.#firstRequestAfter,
        event: "first_request",
        detail: this.#firstMethod,
      });
    }
    if (this.#peak > 1) {
      made.push({ at: this.openedAt + this.#peakAfter, event: "peak_in_flight", detail: String(this.#peak) });
    }
    // Stable, so that what happened in the same millisecond stays in the order in which it was noted.
    return [...made, ...this.#noted ?? []].sort((a, b) => a.at - b.at);
  }

  /** Entries that had to go. */
  get skipped(): number {
    return this.#skipped;
  }
}
