/**
 * What may happen to a gateway: one record each, so that a failing schedule reads well and shrinks well.
 *
 * @module
 */
import * as fc from "fast-check";
import { PING_TIMEOUT_MS } from "../../actors/lifetime.ts";
import { EVICTABLE, LIMITS, PINGING } from "./servers.ts";

/** `who` picks a session, the newest with 0, and wraps. `id` names a request of the client or the server. */
export type Command =
  | {
    readonly do: "open";
    /** Which of the servers. */
    readonly server: number;
    readonly implicit: boolean;
    readonly slow: boolean;
    /** What chance says when the session is made, from 0 to 1. */
    readonly chance: number;
  }
  | { readonly do: "advance" | "stall"; readonly ms: number }
  /** So much memory is in use from now on, and so much less for each server that goes. */
  | { readonly do: "press"; readonly memory: number; readonly relief: number }
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
      /** The client answers a ping of the gateway's; the newest with 0. */
      | "answerPing"
      | "serverAnswers"
      | "serverAnswersTwice"
      | "serverAsks"
      | "serverTakesBack"
      | "serverReportsProgress";
    readonly who: number;
    readonly id: number;
  }
  | { readonly do: "extend"; readonly who: number; readonly ms: number };

/** Durations at which something changes, and their neighbours. */
const AROUND_LIMITS = [
  ...LIMITS.flatMap((limits) => Object.values(limits)),

  PING_TIMEOUT_MS,
].filter((limit) => typeof limit === "number" && limit > 100)
  .flatMap((limitMs) => [limitMs - 1, limitMs, limitMs + 1] as number[]);

// Mostly the newest: what is interesting takes several commands for one session.
const who = fc.oneof({ weight: 6, arbitrary: fc.constant(0) }, { weight: 2, arbitrary: fc.constant(1) }, {
  weight: 1,
  arbitrary: fc.nat({ max: 5 }),
});
const id = fc.nat({ max: 2 });
const ms = fc.oneof(fc.constantFrom(0, 1, 3_000, 9_000, ...new Set(AROUND_LIMITS)), fc.nat({ max: 30_000 }));

/** No two differ by so much that the change of TTLs would be just at the deadband. */
const memory = fc.constantFrom(
  0,
  0.84,
  0.85,
  0.86,
  0.88,
  0.9,
  0.9015,
  0.9025,
  0.93,
  0.949,
  0.95,
  0.96,
  0.97,
  1.2,
);

function of<Do extends SessionCommand["do"]>(what: Do, weight: number, ids?: fc.Arbitrary<number>) {
  const arbitrary = ids === undefined
    ? fc.record({ do: fc.constant(what), who })
    : fc.record({ do: fc.constant(what), who, id: ids });
  return { weight, arbitrary: arbitrary as fc.Arbitrary<Command> };
}

const opening = fc.record({
  do: fc.constant("open" as const),
  server: fc.nat({ max: LIMITS.length - 1 }),
  implicit: fc.boolean(),
  slow: fc.nat({ max: 3 }).map((n) => n === 3),
  chance: fc.constantFrom(0, 0.5, 0.99),
});

/** One command. */
export const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 7, arbitrary: opening },
  { weight: 22, arbitrary: fc.record({ do: fc.constant("advance" as const), ms }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant("stall" as const), ms }) },
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant("press" as const), memory, relief: fc.constantFrom(0, 0.03) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("shutDown" as const),
      drainMs: fc.constantFrom(0, 1, 24, 25, 26, 60, 300),
      hurry: fc.boolean(),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("extend" as const), who, ms }) },
  of("serverStarts", 6),
  of("serverRefuses", 1),
  of("request", 20, id),
  of("initializeAgain", 1),
  of("notify", 4),
  of("respond", 7, id),
  of("cancel", 5, id),
  of("openStream", 7),
  of("hangUpStream", 3),
  of("hangUpReply", 4, id),
  of("answerPing", 6, fc.constantFrom(0, 0, 0, 1)),
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

/** A request whose server reports progress again and again, each time so long after the last. */
const chatter: fc.Arbitrary<Command[]> = fc.record({
  opening,
  times: fc.constantFrom(2, 5, 23, 24, 25, 26),
  ms: fc.constantFrom(...LIMITS.map(({ requestTimeoutMs }) => requestTimeoutMs - 1), 4_900, 5_000),
}).map(({ opening, times, ms }) => [
  { ...opening, slow: false },
  { do: "request", who: 0, id: 0 },
  ...Array.from({ length: times }, () => [
    { do: "serverReportsProgress", who: 0, id: 0 } as const,
    { do: "advance", ms } as const,
  ]).flat(),
]);

/** A client that only listens, and answers when it is asked whether it is there, or not in time. */
const listener: fc.Arbitrary<Command[]> = fc.record({
  opening,
  idleMs: fc.constantFrom(8_999, 9_000, 9_001),
  thinksMs: fc.constantFrom(0, 1, 5_000, 9_998, 9_999, 10_000, 30_000),
}).map(({ opening, idleMs, thinksMs }) => [
  { ...opening, server: PINGING, implicit: false, slow: false },
  { do: "openStream", who: 0 },
  { do: "advance", ms: idleMs },
  { do: "advance", ms: thinksMs },
  { do: "answerPing", who: 0, id: 0 },
]);

/** Idle sessions that may be evicted, due in another order than they were opened, and memory that runs out. */
const crowd: fc.Arbitrary<Command[]> = fc.record({
  used: fc.array(fc.boolean(), { minLength: 3, maxLength: 5 }),
  ms: fc.constantFrom(1, 500),
  relief: fc.constantFrom(0, 0.02, 0.03),
}).map(({ used, ms, relief }) => [
  ...used.flatMap((isUsed): Command[] => [
    { do: "open", server: EVICTABLE, implicit: isUsed, slow: false, chance: 0 },
    { do: "serverAnswers", who: 0, id: 0 },
    { do: "notify", who: 0 },
    { do: "advance", ms },
  ]),
  { do: "press", memory: 0.96, relief },
  { do: "advance", ms: 5_000 },
]);

/** A schedule of about so many commands. */
export function schedule(maxLength: number): fc.Arbitrary<Command[]> {
  const some = fc.oneof(
    { weight: 400, arbitrary: command.map((command) => [command]) },
    { weight: 1, arbitrary: chatter },
    { weight: 3, arbitrary: listener },
    { weight: 2, arbitrary: crowd },
  );
  return fc.array(some, { maxLength, size: "max" }).map((parts) => parts.flat());
}
