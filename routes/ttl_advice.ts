/**
 * `GET /servers/:id/ttl-advice`: what another TTL would have done, from the time that clients really stayed away.
 *
 * @module
 */
import type { Supervisor, TtlAdvice } from "../actors/supervisor.ts";
import type { Clock } from "../clock.ts";
import { iso } from "./session_view.ts";
import { inSlices } from "./turns.ts";

/** What the answer is made from. */
export interface AdviceContext {
  readonly supervisor: Supervisor;
  readonly clock: Clock;
}

/** The answer for a server that there is. See `docs/sessions-api.md`. */
export async function ttlAdvice(
  serverId: string,
  askedMs: number | undefined,
  { supervisor, clock }: AdviceContext,
) {
  const gaps = supervisor.gapsOf(serverId)!;
  const { idleTtlMs } = supervisor.server(serverId)!.limits;
  const ttlMs = askedMs ?? (idleTtlMs === 0 ? undefined : idleTtlMs);
  const advice = ttlMs === undefined ? undefined : gaps.advice(ttlMs);
  const proposal = gaps.proposal();
  // Of those that are away now nobody knows yet whether they come back.
  let [stillIdle, stillIdleByProposal] = [0, 0];
  await inSlices(supervisor.sessions, (session) => {
    if (session.serverId !== serverId || session.verdict !== undefined) return;
    const { idleMs } = session;
    if (advice !== undefined && idleMs > advice.ttlMs) stillIdle++;
    if (proposal !== undefined && idleMs > proposal.ttlMs) stillIdleByProposal++;
  }, { clock });
  const { returned, final } = gaps.counts;
  const now = clock.wallTime();
  return {
    serverId,
    configuredTtlMs: idleTtlMs === 0 ? null : idleTtlMs,
    askedTtlMs: ttlMs ?? null,
    advice: advice === undefined ? null : view(advice, stillIdle),
    proposal: proposal === undefined ? null : view(proposal, stillIdleByProposal),
    window: {
      from: iso(supervisor.startedAt),
      to: iso(now),
      gaps: returned + final,
      returned,
      final,
    },
  };
}

function view({ ttlMs, wouldExpire, cameBack, returnRate }: TtlAdvice, stillIdle: number) {
  return { ttlMs, wouldExpire, cameBack, returnRate, stillIdle };
}
