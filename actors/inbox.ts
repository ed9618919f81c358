/**
 * An actor's inbox: messages wait here in order, and one loop hands them to the actor one at a time.
 *
 * The loop runs only while there is something to do (one microtask per burst, no promise parked per actor: a
 * parked one costs about 700 bytes, an idle inbox not a tenth of that). It never awaits: a handler that
 * has to wait for something asks for it and gets the answer as another message.
 *
 * There are two lanes:
 *
 * - *mail* comes from outside, is bounded, and can be held back while the actor is not ready for it;
 * - *signals* come from what the actor itself owns (its backend, its timer, its supervisor). They are never
 *   refused and never held, and they go first: otherwise held mail would keep an actor from learning that the
 *   reason to hold it is gone.
 *
 * @module
 */

/** Stands for an empty queue; nothing is ever put into it. */
const NOTHING: never[] = [];

/** What actors of a kind do with their messages. One for all of them: an actor pays for no functions of its own. */
export interface InboxRules<Actor, Mail, Signal> {
  /** How many messages of the mail lane may wait; at least 1. */
  readonly maxMail: number;
  readonly onMail: (actor: Actor, mail: Mail) => void;
  readonly onSignal: (actor: Actor, signal: Signal) => void;
  /** A handler threw; `mail` is the message it threw at, where it was mail. The messages behind it go on. */
  readonly onFault: (actor: Actor, error: unknown, mail: Mail | undefined) => void;
}

/**
 * A bounded queue with one consumer.
 *
 * @example Held mail waits, signals do not
 * ```ts
 * import { assertEquals } from "@std/assert";
 *
 * const seen: string[] = [];
 * const rules: InboxRules<string, string, string> = {
 *   maxMail: 2,
 *   onMail: (actor, mail) => seen.push(`${actor}: ${mail}`),
 *   onSignal: () => inbox.release(),
 *   onFault: (_actor, error) => {
 *     throw error;
 *   },
 * };
 * const inbox = new Inbox("x", rules);
 * inbox.hold();
 * assertEquals(["a", "b", "c"].map((mail) => inbox.post(mail)), ["taken", "taken", "full"]);
 * inbox.signal("ready");
 * await Promise.resolve();
 * assertEquals(seen, ["x: a", "x: b"]);
 * ```
 */
export class Inbox<Actor, Mail, Signal> {
  readonly #actor: Actor;
  readonly #rules: InboxRules<Actor, Mail, Signal>;
  /** Messages not yet handled, oldest first; read through `#mailAt` so that taking one is O(1). */
  #mail: Mail[] = NOTHING;
  #mailAt = 0;
  #signals: Signal[] = NOTHING;
  #signalsAt = 0;
  #held = false;
  #closed = false;
  /** True from the first message of a burst until the loop has run dry. */
  #scheduled = false;

  constructor(actor: Actor, rules: InboxRules<Actor, Mail, Signal>) {
    if (!Number.isInteger(rules.maxMail) || rules.maxMail < 1) {
      throw new RangeError(
        `Cannot make an inbox: maxMail must be a whole number from 1, got ${rules.maxMail}`,
      );
    }
    this.#actor = actor;
    this.#rules = rules;
  }

  /** How many messages of the mail lane wait. */
  get waiting(): number {
    return this.#mail.length - this.#mailAt;
  }

  /** Queues a message from outside. Answers `full` or `closed` when it was not taken. */
  post(mail: Mail): "taken" | "full" | "closed" {
    if (this.#closed) return "closed";
    if (this.waiting >= this.#rules.maxMail) return "full";
    if (this.#mail === NOTHING) this.#mail = [];
    this.#mail.push(mail);
    if (!this.#held) this.#schedule();
    return "taken";
  }

  /** Queues a message from something that the actor owns. Dropped once the inbox is closed. */
  signal(signal: Signal): void {
    if (this.#closed) return;
    if (this.#signals === NOTHING) this.#signals = [];
    this.#signals.push(signal);
    this.#schedule();
  }

  /** Keeps mail waiting until {@link release}. Signals still come through. */
  hold(): void {
    this.#held = true;
  }

  /** Puts mail that was just handed out back, before all that waits, and keeps mail waiting until {@link release}. */
  holdFrom(mail: Mail): void {
    if (this.#mail === NOTHING) this.#mail = [];
    if (this.#mailAt > 0) this.#mail[--this.#mailAt] = mail;
    else this.#mail.unshift(mail);
    this.hold();
  }

  /** Takes out all mail that waits, oldest first. */
  takeMail(): Mail[] {
    const waiting = this.#mail.slice(this.#mailAt);
    this.#mail = NOTHING;
    this.#mailAt = 0;
    return waiting;
  }

  /** Lets held mail through, in the order in which it came. */
  release(): void {
    this.#held = false;
    if (this.waiting > 0) this.#schedule();
  }

  /** Takes no more messages, forgets its signals and returns the mail that was never handled. Idempotent. */
  close(): Mail[] {
    this.#closed = true;
    const unread = this.#mail.slice(this.#mailAt);
    this.#mail = this.#signals = NOTHING;
    this.#mailAt = this.#signalsAt = 0;
    return unread;
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      while (this.#step());
      this.#scheduled = false;
      // An actor that has nothing to do keeps no room for it.
      this.#mail = this.waiting === 0 ? NOTHING : this.#mail;
      this.#signals = NOTHING;
    });
  }

  /** Handles the next message; false when there is none that may be handled now. */
  #step(): boolean {
    if (this.#signalsAt < this.#signals.length) {
      const signal = this.#signals[this.#signalsAt++]!;
      if (this.#signalsAt === this.#signals.length) {
        this.#signals.length = 0;
        this.#signalsAt = 0;
      }
      try {
        this.#rules.onSignal(this.#actor, signal);
      } catch (error) {
        this.#rules.onFault(this.#actor, error, undefined);
      }
      return true;
    }
    if (this.#held || this.waiting === 0) return false;
    const mail = this.#mail[this.#mailAt++]!;
    if (this.#mailAt === this.#mail.length) {
      this.#mail.length = 0;
      this.#mailAt = 0;
    }
    try {
      this.#rules.onMail(this.#actor, mail);
    } catch (error) {
      this.#rules.onFault(this.#actor, error, mail);
    }
    return true;
  }
}
