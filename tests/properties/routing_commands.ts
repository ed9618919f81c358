/**
 * What clients and servers of several sessions may do to each other: one record each, so that a failing schedule
 * reads well and shrinks well.
 *
 * @module
 */
import * as fc from "fast-check";
import type { RequestId } from "../../protocol/jsonrpc.ts";

/** Who opens sessions. */
export const PRINCIPALS = ["alice", "bob"] as const;
export type Principal = (typeof PRINCIPALS)[number];

/** The only one with batches comes twice. */
export const VERSIONS = ["2025-11-25", "2025-06-18", "2025-03-26", "2025-03-26", "2024-11-05"] as const;

/** After how long a reply becomes a stream, a stream that is not read is cut, and somebody waits no longer. */
export const SSE_AFTER_MS = 1_000;
export const STALL_MS = 30_000;
export const CLIENT_REPLY_TIMEOUT_MS = 60_000;
export const REQUEST_TIMEOUT_MS = 200_000;

/** A session as it is opened. */
export interface Opening {
  readonly version: (typeof VERSIONS)[number];
  readonly principal: Principal;
}

/** A request of the client. `task` makes it one that waits for the result of that task. */
export interface Ask {
  readonly id: RequestId;
  readonly token: RequestId | undefined;
  readonly task: string | undefined;
}

/**
 * `who` picks a session and `nth` one of several things of it, the newest with 0; both wrap. Where there is nothing
 * to pick, nothing happens.
 */
export type Command =
  | ({ readonly do: "open" } & Opening)
  | { readonly do: "advance"; readonly ms: number }
  | SessionCommand;

/** A command that concerns one session. */
export type SessionCommand =
  & { readonly who: number }
  & (
    | ({ readonly do: "request" } & Ask)
    // `notes` is how many notifications come with the requests.
    | { readonly do: "batch"; readonly asks: readonly Ask[]; readonly notes: number }
    | { readonly do: "notify" | "openStream" | "hangUpStream" | "delete" | "serverExits" }
    | { readonly do: "respond"; readonly id: RequestId; readonly isError: boolean }
    | { readonly do: "cancel" | "serverTakesBack" | "serverAnswersStray"; readonly id: RequestId }
    // The client hangs up, stops to read, or goes on.
    | { readonly do: "hangUp" | "stopReading" | "goOnReading"; readonly nth: number }
    // Somebody else comes with the session's id.
    | { readonly do: "trespass"; readonly method: "POST" | "GET" | "DELETE" }
    | {
      readonly do: "serverAnswers";
      readonly nth: number;
      readonly isError: boolean;
      readonly twice: boolean;
    }
    | { readonly do: "serverReports"; readonly token: RequestId }
    | {
      readonly do: "serverAsks";
      readonly id: RequestId;
      readonly method: string;
      readonly task: string | undefined;
    }
    // `size` is what a message is padded with, in characters; `times` is how many there are.
    | {
      readonly do: "serverTells";
      readonly task: string | undefined;
      readonly times: number;
      readonly size: number;
    }
  );

// Look-alikes, and those that a careless `if (id)` takes for none. All sessions use the same.
const id = fc.constantFrom<RequestId>(1, "1", 2, "2", 0, "");
const token = fc.constantFrom<RequestId>(1, "1", 0, "");
const task = fc.option(fc.constantFrom("t1", "t2"), { nil: undefined, freq: 2 });
const ask = fc.record({ id, token: fc.option(token, { nil: undefined, freq: 3 }), task });
// What is interesting takes several commands for one session, so two of them get most.
const who = fc.oneof({ weight: 5, arbitrary: fc.constant(0) }, { weight: 3, arbitrary: fc.constant(1) }, {
  weight: 2,
  arbitrary: fc.nat({ max: 5 }),
});
const nth = fc.nat({ max: 3 });
const isError = fc.boolean();

/** How a session may be opened. */
export const opening: fc.Arbitrary<Opening> = fc.record({
  version: fc.constantFrom(...VERSIONS),
  principal: fc.constantFrom(...PRINCIPALS),
});

function of<Fields>(what: Command["do"], weight: number, fields: fc.Arbitrary<Fields>) {
  const arbitrary = fc.tuple(who, fields).map(([who, fields]) => ({ do: what, who, ...fields }));
  return { weight, arbitrary: arbitrary as unknown as fc.Arbitrary<Command> };
}

const nothing = fc.constant({});

/** One command. */
export const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 1, arbitrary: opening.map((opening) => ({ do: "open" as const, ...opening })) },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant("advance" as const),
      ms: fc.oneof(
        { weight: 3, arbitrary: fc.constantFrom(1, SSE_AFTER_MS - 1, SSE_AFTER_MS) },
        { weight: 1, arbitrary: fc.constantFrom(15_000, STALL_MS) },
        { weight: 1, arbitrary: fc.constantFrom(CLIENT_REPLY_TIMEOUT_MS, REQUEST_TIMEOUT_MS) },
      ),
    }),
  },
  of("request", 22, ask),
  of(
    "batch",
    3,
    fc.record({ asks: fc.array(ask, { minLength: 1, maxLength: 3 }), notes: fc.nat({ max: 1 }) }),
  ),
  of("notify", 3, nothing),
  of("respond", 9, fc.record({ id, isError })),
  of("cancel", 4, fc.record({ id })),
  of("hangUp", 4, fc.record({ nth })),
  of("openStream", 8, nothing),
  of("hangUpStream", 3, nothing),
  of("stopReading", 3, fc.record({ nth })),
  of("goOnReading", 3, fc.record({ nth })),
  of("trespass", 2, fc.record({ method: fc.constantFrom("POST", "GET", "DELETE") })),
  of("delete", 1, nothing),
  of("serverExits", 1, nothing),
  of(
    "serverAnswers",
    16,
    fc.record({ nth, isError, twice: fc.oneof({ weight: 4, arbitrary: fc.constant(false) }, fc.boolean()) }),
  ),
  of("serverAnswersStray", 2, fc.record({ id })),
  of("serverReports", 12, fc.record({ token })),
  of(
    "serverAsks",
    12,
    fc.record({
      id,
      method: fc.constantFrom("sampling/createMessage", "elicitation/create", "roots/list", "ping"),
      task,
    }),
  ),
  of("serverTakesBack", 4, fc.record({ id })),
  of(
    "serverTells",
    12,
    fc.record({
      task,
      times: fc.oneof(
        { weight: 20, arbitrary: fc.integer({ min: 1, max: 3 }) },
        { weight: 1, arbitrary: fc.constantFrom(100, 255, 256) },
      ),
      // Longer than one pull of a body, or than what is kept where there are many.
      size: fc.oneof({ weight: 20, arbitrary: fc.constant(0) }, {
        weight: 1,
        arbitrary: fc.constantFrom(5_000, 70_000),
      }),
    }),
  ),
);
