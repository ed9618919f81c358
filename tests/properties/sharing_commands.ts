/**
 * What may happen between sessions and the servers that they share, for random schedules.
 *
 * @module
 */
import * as fc from "fast-check";

/** Resources of the servers: one lies below another. */
export const URIS = ["r:a", "r:a/b", "r:c"] as const;
/** Log levels in use, most talkative first. */
export const LEVELS = ["debug", "warning", "emergency"] as const;

/** One thing that happens. `who` is a session, `at` a child and `which` one of what there is, each by number, modulo. */
export type Command =
  /** A session is opened. */
  | { readonly do: "open" }
  /** A client asks; where an id is in flight it takes another. A subscription may be one that the server refuses. */
  | {
    readonly do: "request";
    readonly who: number;
    readonly method: string;
    readonly id: number;
    readonly token: string | number | undefined;
    readonly uri: typeof URIS[number];
    readonly level: typeof LEVELS[number];
    readonly isRefused: boolean;
  }
  /** A client cancels a request of its own, or one that it has not. */
  | { readonly do: "cancel" | "cancelNone"; readonly who: number; readonly which: number }
  /** A client answers a question, of its own or of another's. */
  | { readonly do: "reply" | "forge"; readonly who: number; readonly which: number }
  | { readonly do: "pause" | "resume" | "close"; readonly who: number }
  /** A server does something for one of the requests that it has; it may be one that was cancelled. */
  | { readonly do: "answer" | "progress" | "ask" | "custom"; readonly at: number; readonly which: number }
  | { readonly do: "log"; readonly at: number; readonly which: number; readonly level: typeof LEVELS[number] }
  | { readonly do: "update"; readonly at: number; readonly uri: typeof URIS[number] }
  | { readonly do: "listChanged"; readonly at: number; readonly list: "tools" | "resources" }
  /** A server takes back a question. */
  | { readonly do: "takeBack"; readonly at: number; readonly which: number }
  | { readonly do: "ping" | "ready" | "die"; readonly at: number }
  /** Servers that start from now on answer at once, or when they are told to. */
  | { readonly do: "lazy"; readonly on: boolean }
  | { readonly do: "advance"; readonly ms: number };

const n = fc.nat({ max: 10_000 });
const methods = [
  "tools/call",
  "tools/call",
  "tools/list",
  "resources/list",
  "resources/subscribe",
  "resources/subscribe",
  "resources/unsubscribe",
  "logging/setLevel",
];

/** The name of a command. */
const is = <const Do extends Command["do"]>(name: Do) => ({ do: fc.constant(name) });

/** Commands, rare ones as often as they should be. `deaths`: how often a server dies, in 1,000. */
export function commands({ deaths }: { readonly deaths: number }): fc.Arbitrary<Command> {
  const request = fc.record({
    ...is("request"),
    who: n,
    method: fc.constantFrom(...methods),
    id: fc.nat({ max: 2 }),
    token: fc.constantFrom(undefined, 1, "t"),
    uri: fc.constantFrom(...URIS),
    level: fc.constantFrom(...LEVELS),
    isRefused: fc.boolean(),
  });
  const at = { at: n, which: n };
  const who = { who: n, which: n };
  const weighted: [weight: number, arbitrary: fc.Arbitrary<Command>][] = [
    [60, fc.record(is("open"))],
    [250, request],
    [40, fc.record({ ...is("cancel"), ...who })],
    [10, fc.record({ ...is("cancelNone"), ...who })],
    [60, fc.record({ ...is("reply"), ...who })],
    [15, fc.record({ ...is("forge"), ...who })],
    [20, fc.record({ ...is("pause"), who: n })],
    [40, fc.record({ ...is("resume"), who: n })],
    [25, fc.record({ ...is("close"), who: n })],
    [180, fc.record({ ...is("answer"), ...at })],
    [90, fc.record({ ...is("progress"), ...at })],
    [80, fc.record({ ...is("ask"), ...at })],
    [30, fc.record({ ...is("custom"), ...at })],
    [40, fc.record({ ...is("log"), ...at, level: fc.constantFrom(...LEVELS) })],
    [50, fc.record({ ...is("update"), at: n, uri: fc.constantFrom(...URIS) })],
    [
      20,
      fc.record({
        ...is("listChanged"),
        at: n,
        list: fc.constantFrom("tools" as const, "resources" as const),
      }),
    ],
    [20, fc.record({ ...is("takeBack"), ...at })],
    [5, fc.record({ ...is("ping"), at: n })],
    [30, fc.record({ ...is("ready"), at: n })],
    [deaths, fc.record({ ...is("die"), at: n })],
    [5, fc.record({ ...is("lazy"), on: fc.boolean() })],
    [40, fc.record({ ...is("advance"), ms: fc.constantFrom(1, 500, 4_000, 9_999, 10_001, 70_000) })],
  ];
  return fc.oneof(...weighted.map(([weight, arbitrary]) => ({ weight, arbitrary })));
}
