/**
 * How long sessions of a server lay idle before their clients came back, and how long those did that never came back.
 * It answers the question what another TTL would have done.
 *
 * Gaps are counted in buckets on a logarithmic scale, 8 to a doubling: an answer is right for a TTL within 9% of the
 * one that was asked for, and says for which. That is bounded, whatever happens for however long.
 *
 * @module
 */

/** Buckets for each doubling. */
const PER_DOUBLING = 8;
/** The longest gap that is told from longer ones: 2^36 ms are over two years. */
const DOUBLINGS = 36;
const BUCKETS = PER_DOUBLING * DOUBLINGS + 1;
/** Of the sessions that a good TTL expires, the part that comes back all the same stays below this. */
const GOOD_RETURN_RATE = 0.001;

/** What a TTL would have done. Durations in ms, instants in ms since the Unix epoch. */
export interface TtlAdvice {
  /** The TTL that the figures are exact for: the bound of a bucket, at most 9% above the one asked for. */
  readonly ttlMs: number;
  /** Sessions that would have expired. */
  readonly wouldExpire: number;
  /** Those of them whose clients came back later. */
  readonly cameBack: number;
  /** The part that came back, from 0 to 1; 0 where nothing would have expired. */
  readonly returnRate: number;
}

/** See the module's documentation. */
export class IdleGaps {
  /** Gaps that ended with a request of the client. */
  readonly #returned = new Uint32Array(BUCKETS);
  /** Gaps that ended with the session. */
  readonly #final = new Uint32Array(BUCKETS);
  #returnedTotal = 0;
  #finalTotal = 0;

  /** The client came back after so many ms. */
  cameBack(gapMs: number): void {
    this.#returned[bucketOf(gapMs)]!++;
    this.#returnedTotal++;
  }

  /** A session ended after so many ms in which nobody had come back. */
  ended(gapMs: number): void {
    this.#final[bucketOf(gapMs)]!++;
    this.#finalTotal++;
  }

  /** The client of a session that had ended came back after all: the gap that was final was none. */
  cameBackLate(finalGapMs: number, gapMs: number): void {
    this.#final[bucketOf(finalGapMs)]!--;
    this.#finalTotal--;
    this.cameBack(gapMs);
  }

  /** How many gaps the figures come from. */
  get counts(): { readonly returned: number; readonly final: number } {
    return { returned: this.#returnedTotal, final: this.#finalTotal };
  }

  /** What a TTL would have done. */
  advice(ttlMs: number): TtlAdvice {
    const from = bucketOf(ttlMs);
    let cameBack = 0;
    let final = 0;
    for (let bucket = from + 1; bucket < BUCKETS; bucket++) {
      cameBack += this.#returned[bucket]!;
      final += this.#final[bucket]!;
    }
    return adviceOf(upperBound(from), cameBack, final);
  }

  /** The shortest TTL of which fewer than 0.1% of the sessions that it expires come back; undefined without any gap. */
  proposal(): TtlAdvice | undefined {
    if (this.#returnedTotal + this.#finalTotal === 0) return undefined;
    let cameBack = this.#returnedTotal;
    let final = this.#finalTotal;
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      cameBack -= this.#returned[bucket]!;
      final -= this.#final[bucket]!;
      const advice = adviceOf(upperBound(bucket), cameBack, final);
      if (advice.returnRate < GOOD_RETURN_RATE) return advice;
    }
    return undefined;
  }
}

function adviceOf(ttlMs: number, cameBack: number, final: number): TtlAdvice {
  const wouldExpire = cameBack + final;
  return { ttlMs, wouldExpire, cameBack, returnRate: wouldExpire === 0 ? 0 : cameBack / wouldExpire };
}

/** The bucket whose upper bound is the first that is not below the gap. */
function bucketOf(gapMs: number): number {
  if (!(gapMs > 1)) return 0;
  const bucket = Math.min(BUCKETS - 1, Math.ceil(Math.log2(gapMs) * PER_DOUBLING));
  // Rounding of the logarithm, and of the bounds to whole ms.
  if (bucket > 0 && upperBound(bucket - 1) >= gapMs) return bucket - 1;
  return upperBound(bucket) >= gapMs ? bucket : Math.min(BUCKETS - 1, bucket + 1);
}

/** The longest gap of a bucket, in whole ms. */
function upperBound(bucket: number): number {
  return Math.round(2 ** (bucket / PER_DOUBLING));
}
