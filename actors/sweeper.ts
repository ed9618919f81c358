/**
 * The sweeper gives back what expired sessions hold. It judges no session: it asks each one, and ends those that
 * say that they expired.
 *
 * It sleeps for one interval, sweeps once, and sleeps again; a sweep never overlaps the one before. The interval is
 * a third of the shortest TTL in force, so an expired session holds its backend for at most that long. Clients do
 * not notice the sweep: an expired session answers 404 from its deadline on, swept or not.
 *
 * ## Messages
 *
 * | message | from | meaning |
 * | --- | --- | --- |
 * | signal `tick` | its own timer | sweep now |
 * | signal `swept` | its own sweep | all that was found is closed; sleep again |
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import { reportFault } from "../fault.ts";
import { logger } from "../log.ts";
import { Alarm } from "./alarm.ts";
import { Inbox } from "./inbox.ts";
import type { Session } from "./session.ts";

/** The interval is the TTL divided by this: often enough that little is held for long, seldom enough to be free. */
export const SWEEPS_PER_TTL = 3;

/** Sessions closed at a time. Each close may wait for a process to obey. */
const MAX_CLOSING = 32;

/** How to make a {@link Sweeper}. */
export interface SweeperOptions {
  readonly clock: Clock;
  /** Time between two sweeps, in ms; above 0. */
  readonly intervalMs: number;
  /** The sessions to ask. */
  readonly sessions: () => Iterable<Session>;
}

type Signal = { readonly tag: "tick" | "swept" };

const log = logger("sweeper");

/** See the module's documentation. */
export class Sweeper {
  readonly #options: SweeperOptions;
  readonly #inbox: Inbox<never, Signal>;
  readonly #alarm: Alarm;
  #stopped = false;

  constructor(options: SweeperOptions) {
    if (!(options.intervalMs > 0 && Number.isFinite(options.intervalMs))) {
      throw new RangeError(`Cannot sweep: intervalMs must be above 0 and finite, got ${options.intervalMs}`);
    }
    this.#options = options;
    this.#inbox = new Inbox<never, Signal>({
      maxMail: 1,
      onMail: () => {},
      onSignal: (signal) => this.#onSignal(signal),
      onFault: (error) => reportFault(log, "Sweeper", error),
    });
    this.#alarm = new Alarm(options.clock, () => this.#inbox.signal({ tag: "tick" }));
  }

  /** Begins to sweep, one interval from now. */
  start(): void {
    this.#sleep();
  }

  /** Sweeps no more. A sweep that runs goes on to its end. Idempotent. */
  stop(): void {
    this.#stopped = true;
    this.#alarm.off();
  }

  #onSignal(signal: Signal): void {
    if (signal.tag === "swept") return this.#sleep();
    void this.#sweep()
      .catch((error) => reportFault(log, "Sweeper", error))
      .then(() => this.#inbox.signal({ tag: "swept" }));
  }

  #sleep(): void {
    if (!this.#stopped) this.#alarm.at(this.#options.clock.now() + this.#options.intervalMs);
  }

  async #sweep(): Promise<void> {
    const expired = [...this.#options.sessions()].filter((session) => session.expired);
    if (expired.length === 0) return;
    log.info("Cleaning up {count} expired streamable session(s)", { count: expired.length });
    const next = expired.values();
    const closeInTurn = async () => {
      for (const session of next) {
        const idleS = Math.floor(session.idleMs / 1000);
        log.debug("Closing streamable session {handle} (idle for {idleS}s)", {
          handle: session.handle,
          idleS,
        });
        await session.end(session.expiryReason);
      }
    };
    await Promise.all(Array.from({ length: MAX_CLOSING }, closeInTurn));
  }
}
