/**
 * What has to come of memory pressure: shorter TTLs for all, and the end of some.
 *
 * Readings are seen as they are made; what follows from each is reckoned from the words of the design. Where a
 * session's own timer was due at the same instant as the sweep, either may have come first, so then it is
 * taken from the session whether it was idle yet, and looked at whether that can be.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import type { Belief } from "./belief.ts";
import { EVICTED_AT_ONCE } from "./servers.ts";

/** Memory pressure from which on TTLs are scaled, and by how much less than the whole it differs where they are shortest. */
const SCALE_FROM = 0.85;
const SCALE_WIDTH = 0.1;
const DEADBAND = 0.02;
const EVICT_FROM = 0.95;
const EVICT_UNTIL = 0.9;

/** See the module's documentation. */
export class Scarcity {
  /** How far TTLs are scaled down. */
  s = 0;
  /** When a sweep last came for TTLs that became shorter. */
  shortenedAt = -Infinity;
  #evicting = false;
  /** Whether the next reading follows an eviction, within the same sweep. */
  #isWithin = false;

  /** The pressure was read. */
  read(
    memory: number,
    { beliefs, now, isVague }: { beliefs: readonly Belief[]; now: number; isVague: boolean },
  ): void {
    const before = this.s;
    this.#scale(memory);
    if (this.s < before) {
      this.shortenedAt = -Infinity;
      for (const belief of beliefs) this.#lengthen(belief, now);
    }
    for (const belief of beliefs) this.#judgeAnew(belief);
    if (this.s > before && !this.#isWithin) this.shortenedAt = now;
    if (memory >= EVICT_FROM) this.#evicting = true;
    // A sweep asks before it evicts.
    for (const belief of beliefs) {
      if (belief.isDead(now, this.s) && !isShutDown(belief)) belief.expire(now, this.s);
    }
    this.#isWithin = false;
    if (!this.#evicting) return;
    if (memory < EVICT_UNTIL) this.#evicting = false;
    else this.#evict(beliefs, now, isVague);
  }

  #scale(memory: number): void {
    const raw = Math.round((memory - SCALE_FROM) / SCALE_WIDTH * 1e9) / 1e9;
    const s = Math.max(0, Math.min(1, raw));
    if (s === 0 || s === 1 || Math.abs(s - this.s) >= DEADBAND) this.s = s;
  }

  /** A deadline that has passed unseen may come to lie ahead again; nobody was told that it had passed. */
  #lengthen(belief: Belief, now: number): void {
    if (belief.phase !== "expired" || belief.isSeen || belief.reason === "evicted") return;
    // It was judged by what held before.
    if (belief.life.session!.verdict?.reason === belief.reason) return;
    belief.restore();
    if (belief.isDead(now, this.s)) belief.expire(now, this.s);
  }

  /** What expired unseen is judged when it is seen: with the TTL of then. */
  #judgeAnew(belief: Belief): void {
    if (belief.phase !== "expired" || belief.isSeen || belief.reason === "evicted") return;
    const reason = belief.reasonAt(this.s);
    const judged = belief.life.session!.verdict?.reason;
    if (judged === undefined || judged === reason) belief.reason = reason;
  }

  #evict(beliefs: readonly Belief[], now: number, isVague: boolean): void {
    const candidates = beliefs.filter((belief) =>
      belief.limits.evictable && belief.phase === "active" && belief.inFlight(now) === 0 &&
      !isShutDown(belief)
    );
    if (isVague || candidates.some(({ doneAt }) => doneAt === now)) return this.#adopt(candidates, now);
    const inOrder = candidates.toSorted((a, b) => a.deadline(this.s) - b.deadline(this.s));
    const gone = inOrder.slice(0, EVICTED_AT_ONCE);
    for (const belief of gone) {
      assertEquals(belief.life.session!.verdict?.reason, "evicted", `session ${belief.life.no}`);
      belief.expire(now, this.s, "evicted");
    }
    this.#isWithin = gone.length > 0;
  }

  #adopt(candidates: readonly Belief[], now: number): void {
    for (const belief of candidates) {
      if (belief.life.session!.verdict?.reason !== "evicted") continue;
      belief.expire(now, this.s, "evicted");
      assert(belief.limits.evictable);
      this.#isWithin = true;
    }
  }
}

/** Whether the shutdown came first, at the same instant. */
function isShutDown({ life }: Belief): boolean {
  return life.session!.endReason === "shutdown";
}
