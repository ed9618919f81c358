/**
 * What may happen to a gateway: one record each, so that a failing schedule reads well and shrinks well.
 *
 * @module
 */
import * as fc from "fast-check";
import type { SessionLimits } from "../../actors/supervisor.ts";

/** Small limits, so that everything falls due often. The TTL is a multiple of 3: all instants stay whole. */
export const SMALL: SessionLimits = {
  idleTtlMs: 90,
  implicitTtlMs: 30,
  handshakeTtlMs: 0,
  maxLifetimeMs: 0,
  onOpenStream: "expire",
  evictable: false,
  requestTimeoutMs: 250,
  startTimeoutMs: 150,
  clientReplyTimeoutMs: 40,
  sseAfterMs: 5,
  maxInFlight: 64,
};

/** `who` picks a session, the newest with 0, and wraps. `id` names a request of the client or the server. */
export type Command =
  | { readonly do: "open"; readonly implicit: boolean; readonly slow: boolean }
  | { readonly do: "advance" | "stall"; readonly ms: number }
  | { readonly do: "shutDown"; readonly drainMs: number; readonly hurry: boolean }
  | SessionCommand;

/** A command that concerns one session. */
export type SessionCommand =
  | {
    readonly do:
      | "initializeAgain"
      | "notify"
      | "openStream"
      | "hangUpStream"
      | "delete"
      | "serverStarts"
      | "serverRefuses"
      | "serverTells"
      | "serverExits"
      | "serverBreaksProtocol"
      | "serverSpeaksAfterItsExit"
      | "toggleStubborn"
      | "toggleFull";
    readonly who: number;
  }
  | {
    readonly do:
      | "request"
      | "respond"
      | "cancel"
      | "hangUpReply"
      | "serverAnswers"
      | "serverAnswersTwice"
      | "serverAsks"
      | "serverTakesBack"
      | "serverReportsProgress";
    readonly who: number;
    readonly id: number;
  };

/** Durations at which something changes, and their neighbours. */
const AROUND_LIMITS = Object.values(SMALL).filter((limit) => typeof limit === "number").flatMap((
  limitMs,
) => [limitMs - 1, limitMs, limitMs + 1]);

// Mostly the newest: what is interesting takes several commands for one session.
const who = fc.oneof({ weight: 6, arbitrary: fc.constant(0) }, { weight: 2, arbitrary: fc.constant(1) }, {
  weight: 1,
  arbitrary: fc.nat({ max: 5 }),
});
const id = fc.nat({ max: 2 });
const ms = fc.oneof(fc.constantFrom(0, 1, 25, 33, ...AROUND_LIMITS), fc.nat({ max: 300 }));

function of<Do extends SessionCommand["do"]>(what: Do, weight: number, ids?: fc.Arbitrary<number>) {
  const arbitrary = ids === undefined
    ? fc.record({ do: fc.constant(what), who })
    : fc.record({ do: fc.constant(what), who, id: ids });
  return { weight, arbitrary: arbitrary as fc.Arbitrary<Command> };
}

/** One command. */
export const command: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ do: fc.constant("open" as const), implicit: fc.boolean(), slow: fc.boolean() }),
  },
  { weight: 22, arbitrary: fc.record({ do: fc.constant("advance" as const), ms }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant("stall" as const), ms }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("shutDown" as const),
      drainMs: fc.constantFrom(0, 1, 24, 25, 26, 60, 300),
      hurry: fc.boolean(),
    }),
  },
  of("serverStarts", 6),
  of("serverRefuses", 1),
  of("request", 20, id),
  of("initializeAgain", 1),
  of("notify", 4),
  of("respond", 7, id),
  of("cancel", 5, id),
  of("openStream", 6),
  of("hangUpStream", 3),
  of("hangUpReply", 4, id),
  of("serverAnswers", 14, id),
  of("serverAnswersTwice", 3, id),
  of("serverAsks", 9, id),
  of("serverTakesBack", 3, id),
  of("serverTells", 6),
  of("serverReportsProgress", 5, id),
  of("serverExits", 2),
  of("serverBreaksProtocol", 1),
  of("serverSpeaksAfterItsExit", 2),
  of("toggleStubborn", 2),
  of("toggleFull", 2),
  of("delete", 3),
);
