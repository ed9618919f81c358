/**
 * What may happen to gateways that run one after the other over the same store.
 *
 * @module
 */
import * as fc from "fast-check";
import { FLUSH_MS } from "../../actors/records.ts";
import type { SessionLimits } from "../../actors/supervisor.ts";

const LIMITS: SessionLimits = {
  idleTtlMs: 18_000,
  implicitTtlMs: 6_000,
  handshakeTtlMs: 0,
  maxLifetimeMs: 0,
  onOpenStream: "expire",
  evictable: false,
  requestTimeoutMs: 40_000,
  startTimeoutMs: 15_000,
  hibernateAfterMs: 3_000,
  stateful: false,
  clientReplyTimeoutMs: 4_000,
  sseAfterMs: 500,
  maxInFlight: 64,
};

/** One that hibernates; one with all that may shorten a life; one that keeps its backends; one that cannot be revived. */
export const SERVERS: readonly SessionLimits[] = [
  LIMITS,
  {
    ...LIMITS,
    idleTtlMs: 9_000,
    hibernateAfterMs: 2_000,
    onOpenStream: "ping",
    evictable: true,
    maxLifetimeMs: 45_000,
  },
  { ...LIMITS, idleTtlMs: 12_000, hibernateAfterMs: 0 },
  { ...LIMITS, stateful: true, hibernateAfterMs: 2_000 },
];

/** How a server takes `initialize` from now on. */
export type Manner = "answers" | "waits" | "refuses" | "differs" | "dies";

/** What a world is made with. */
export interface Setting {
  readonly maxProcesses: number;
  readonly maxSessions: number;
  readonly waitMs: number;
  /** How many sessions are taken up in one turn after a restart. */
  readonly pageSize: number;
  /** Whether it is seen in the end that all servers can be used again. */
  readonly recovers: boolean;
}

/** `who` picks a session, the newest with 0, and wraps. */
export type Command =
  | { readonly do: "open"; readonly server: number; readonly implicit: boolean }
  | { readonly do: "advance"; readonly ms: number }
  | { readonly do: "press"; readonly memory: number }
  | { readonly do: "manner"; readonly server: number; readonly manner: Manner }
  /** The servers file changes. */
  | { readonly do: "replace"; readonly server: number; readonly isGone: boolean }
  | { readonly do: "stop"; readonly drainMs: number; readonly hurry: boolean }
  /** Where the gateway was not stopped it is killed; `inTurn`: before it has handled what was sent last. */
  | { readonly do: "restart"; readonly downMs: number; readonly inTurn: boolean }
  | { readonly do: WhoDoes; readonly who: number }
  | { readonly do: WhichDoes; readonly who: number; readonly id: number };

type WhoDoes =
  | "notify"
  | "openStream"
  | "hangUpStream"
  | "answerPing"
  | "delete"
  | "serverStarts"
  | "serverTells"
  | "serverExits"
  | "toggleStubborn"
  | "hibernate";

type WhichDoes =
  | "request"
  /** Several requests in one turn. */
  | "requests"
  | "setLevel"
  | "subscribe"
  | "unsubscribe"
  | "cancel"
  | "hangUpReply"
  | "respond"
  | "serverAnswers"
  | "serverRefuses"
  | "serverAsks";

const AROUND_LIMITS = [
  FLUSH_MS,
  ...SERVERS.flatMap((limits) => Object.values(limits)).filter((limit) =>
    typeof limit === "number" && limit > 100
  ),
].flatMap((ms) => [ms as number - 1, ms as number, ms as number + 1]);

const who = fc.oneof({ weight: 6, arbitrary: fc.constant(0) }, { weight: 3, arbitrary: fc.nat({ max: 3 }) });
const id = fc.nat({ max: 2 });
const ms = fc.oneof(
  { weight: 2, arbitrary: fc.constantFrom(0, 1, 100, 501, 2_100, 3_100) },
  { weight: 2, arbitrary: fc.constantFrom(...new Set(AROUND_LIMITS)) },
  { weight: 1, arbitrary: fc.nat({ max: 20_000 }) },
);

function of(what: WhoDoes, weight: number) {
  return { weight, arbitrary: fc.record({ do: fc.constant(what), who }) as fc.Arbitrary<Command> };
}

function which(what: WhichDoes, weight: number) {
  return { weight, arbitrary: fc.record({ do: fc.constant(what), who, id }) as fc.Arbitrary<Command> };
}

const server = fc.constantFrom(0, 0, 0, 1, 1, 2, 3);

const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 9, arbitrary: fc.record({ do: fc.constant("open" as const), server, implicit: fc.boolean() }) },
  { weight: 26, arbitrary: fc.record({ do: fc.constant("advance" as const), ms }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("press" as const),
      memory: fc.constantFrom(0, 0, 0.9, 0.95, 0.97),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("manner" as const),
      server,
      manner: fc.constantFrom<Manner>(
        "answers",
        "answers",
        "answers",
        "waits",
        "waits",
        "refuses",
        "differs",
        "dies",
      ),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("stop" as const),
      drainMs: fc.constantFrom(0, 25, 300, 5_000),
      hurry: fc.boolean(),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("replace" as const), server, isGone: fc.boolean() }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant("restart" as const),
      downMs: fc.constantFrom(0, 0, 1, 500, 3_000, 8_999, 9_000, 18_000),
      inTurn: fc.boolean(),
    }),
  },
  which("request", 20),
  which("requests", 4),
  which("setLevel", 4),
  which("subscribe", 4),
  which("unsubscribe", 2),
  which("cancel", 3),
  which("hangUpReply", 2),
  which("respond", 5),
  which("serverAnswers", 20),
  which("serverRefuses", 2),
  which("serverAsks", 6),
  of("notify", 5),
  of("openStream", 6),
  of("hangUpStream", 3),
  of("answerPing", 3),
  of("delete", 3),
  of("serverStarts", 8),
  of("serverTells", 3),
  of("serverExits", 5),
  of("toggleStubborn", 4),
  of("hibernate", 4),
);

export const setting: fc.Arbitrary<Setting> = fc.record({
  maxProcesses: fc.constantFrom(Infinity, Infinity, 1, 2),
  maxSessions: fc.constantFrom(Infinity, Infinity, 3),
  waitMs: fc.constantFrom(0, 2_000),
  pageSize: fc.constantFrom(1, 128),
  recovers: fc.nat({ max: 7 }).map((n) => n === 7),
});

/** A session that sleeps, is woken by one that wants something, and what becomes of that. */
const nap: fc.Arbitrary<Command[]> = fc.record({
  server: fc.constantFrom(0, 0, 1),
  listens: fc.boolean(),
  manner: fc.constantFrom<Manner>("answers", "waits", "waits", "dies"),
  wakes: fc.constantFrom<"request" | "requests" | "notify" | "openStream">("request", "requests", "notify"),
  meanwhile: fc.array(command, { maxLength: 3 }),
  ends: fc.constantFrom<"serverStarts" | "serverExits" | "delete">("serverStarts", "serverExits", "delete"),
}).map(({ server, listens, manner, wakes, meanwhile, ends }) => [
  { do: "open", server, implicit: false },
  ...listens ? [{ do: "openStream", who: 0 } as const] : [],
  { do: "advance", ms: 3_000 },
  { do: "manner", server, manner },
  { do: wakes, who: 0, id: 0 } as Command,
  ...listens ? [{ do: "serverAsks", who: 0, id: 0 } as const] : [],
  ...meanwhile,
  { do: ends, who: 0 },
]);

/** A server that keeps dying, its session that sleeps, and a client that tries again and again. */
const quarantine: fc.Arbitrary<Command[]> = fc.record({
  tries: fc.integer({ min: 5, max: 8 }),
  restMs: fc.constantFrom(0, 999, 1_000, 2_000),
  meanwhile: fc.array(command, { maxLength: 4 }),
}).map(({ tries, restMs, meanwhile }) => [
  { do: "open", server: 0, implicit: false },
  { do: "advance", ms: 3_000 },
  { do: "manner", server: 0, manner: "dies" },
  ...Array.from({ length: tries }, () => ({ do: "request", who: 0, id: 0 }) as const),
  ...meanwhile,
  { do: "advance", ms: restMs },
  { do: "request", who: 0, id: 0 },
]);

/** What is written down late: somebody does something, a little passes, and the gateway is killed. */
const killed: fc.Arbitrary<Command[]> = fc.record({
  server,
  implicit: fc.boolean(),
  what: fc.array(command, { minLength: 1, maxLength: 4 }),
  ms: fc.constantFrom(FLUSH_MS - 1, FLUSH_MS, FLUSH_MS + 1, 5_000),
  downMs: fc.constantFrom(0, 5_000, 11_000),
}).map(({ server, implicit, what, ms, downMs }) => [
  { do: "open", server, implicit },
  { do: "serverAnswers", who: 0, id: 0 },
  ...what,
  { do: "advance", ms },
  { do: "restart", downMs, inTurn: false },
  { do: "request", who: 0, id: 0 },
]);

/** A schedule of about so many commands. */
export function schedule(maxLength: number): fc.Arbitrary<Command[]> {
  const some = fc.oneof(
    { weight: 90, arbitrary: command.map((command) => [command]) },
    { weight: 2, arbitrary: nap },
    { weight: 1, arbitrary: quarantine },
    { weight: 1, arbitrary: killed },
  );
  return fc.array(some, { maxLength, size: "max" }).map((parts) => parts.flat());
}
