/**
 * Whose a message may be that says nothing of it: what a shared server sends while it works on requests of one session
 * only is taken to be that session's; while it works on those of several, nobody can tell.
 *
 * A request that was cancelled counts for a while longer, also where its session is gone: the server may be slow to
 * notice, and what it still says on its behalf must not be taken for another session's.
 *
 * @module
 */

/** How long a cancelled request counts, in ms. */
export const LINGER_MS = 10_000;

/** Whose it may be. */
export type Attribution<Session> =
  | { readonly kind: "nobody" }
  | { readonly kind: "one"; readonly session: Session }
  /** Several sessions', or that of a session that is gone. */
  | { readonly kind: "unclear" };

interface Work {
  /** Requests that the server has not answered. */
  open: number;
  /** Until when cancelled ones count, in ms of the clock. */
  lingersUntil: number;
}

/** Who has requests at one child. Instants are ms of the clock. */
export class Attributions<Session> {
  readonly #busy = new Map<Session, Work>();
  /** Until when requests of sessions that are gone count. */
  #goneUntil = -Infinity;

  /** How many sessions it remembers. */
  get size(): number {
    return this.#busy.size;
  }

  /** A request went to the server. */
  began(session: Session): void {
    const work = this.#busy.get(session);
    if (work === undefined) this.#busy.set(session, { open: 1, lingersUntil: -Infinity });
    else work.open++;
  }

  /** It was answered. */
  ended(session: Session, now: number): void {
    const work = this.#busy.get(session);
    if (work !== undefined && --work.open === 0 && work.lingersUntil <= now) this.#busy.delete(session);
  }

  /** It was cancelled. */
  cancelled(session: Session, now: number): void {
    const work = this.#busy.get(session);
    if (work === undefined) return;
    work.open--;
    work.lingersUntil = now + LINGER_MS;
  }

  /** A session is gone, and with it all its requests. */
  left(session: Session, now: number): void {
    const work = this.#busy.get(session);
    if (work === undefined) return;
    this.#busy.delete(session);
    this.#goneUntil = Math.max(this.#goneUntil, work.open > 0 ? now + LINGER_MS : work.lingersUntil);
  }

  /** Whose a message may be that came now. */
  at(now: number): Attribution<Session> {
    if (this.#goneUntil > now) return { kind: "unclear" };
    let one: Session | undefined;
    for (const [session, { open, lingersUntil }] of this.#busy) {
      if (open === 0 && lingersUntil <= now) {
        this.#busy.delete(session);
        continue;
      }
      if (one !== undefined) return { kind: "unclear" };
      one = session;
    }
    return one === undefined ? { kind: "nobody" } : { kind: "one", session: one };
  }
}
