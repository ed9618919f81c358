/**
 * The mutants of hibernation, revival and restarts.
 *
 * @module
 */
import type { Mutant } from "./mutants_table.ts";

const SESSION = "actors/session.ts";
const CORE = "actors/session_core.ts";
const TIME = "actors/session_time.ts";
const SLEEP = "actors/session_sleep.ts";
const END = "actors/session_end.ts";
const RECORDS = "actors/records.ts";
const LINK = "actors/link.ts";
const PROPERTIES = ["properties"] as const;

/** See `mutants_table.ts`. */
export const SLUMBER_MUTANTS: readonly Mutant[] = [
  {
    name: "hibernates while something is in flight",
    breaks: "slumber",
    edits: [{ file: TIME, from: "  else if (core.inFlight === 0) {", to: "  else {" }],
    by: PROPERTIES,
  },
  {
    name: "hibernates for others while something is in flight",
    breaks: "slumber",
    edits: [{
      file: SESSION,
      from: 'return core.hibernates && !this.expired && core.state === "active" && core.inFlight === 0;',
      to: 'return core.hibernates && !this.expired && core.state === "active";',
    }],
    by: PROPERTIES,
  },
  {
    name: "two backends at a time",
    breaks: "slumber",
    edits: [{
      file: SLEEP,
      from: "  else core.context.onWake(core.session);",
      to: "  core.context.onWake(core.session);",
    }],
    by: PROPERTIES,
  },
  {
    name: "revived without what stands",
    breaks: "slumber",
    edits: [{ file: LINK, from: "this.#replay(known.standing);", to: "this.#replay(undefined);" }],
    by: PROPERTIES,
  },
  {
    name: "revived without a confirmation",
    breaks: "slumber",
    edits: [{
      file: LINK,
      from: "    if (own) this.send(",
      to: "    if (own && known === undefined) this.send(",
    }],
    by: PROPERTIES,
  },
  {
    name: "any server is as good as another",
    breaks: "slumber",
    edits: [{
      file: LINK,
      from: 'if (difference !== undefined) return { kind: "changed"',
      to: 'if (difference === "") return { kind: "changed"',
    }],
    by: PROPERTIES,
  },
  {
    name: "a server with state is replaced",
    breaks: "slumber",
    edits: [{
      file: CORE,
      from: "return this.key !== 0 && !this.context.limits.stateful;",
      to: "return this.key !== 0;",
    }],
    by: PROPERTIES,
  },
  {
    name: "expires while it wakes",
    breaks: "slumber",
    edits: [{
      file: TIME,
      from: "  if (!core.isAlive || core.waking !== undefined) return;",
      to: "  if (!core.isAlive) return;",
    }],
    by: PROPERTIES,
  },
  {
    name: "questions of a server that failed to start stay",
    breaks: "slumber",
    edits: [{ file: SLEEP, from: "  conversation.lostServer(failure, now);\n", to: "" }],
    by: PROPERTIES,
  },
  {
    name: "a notification wakes and gets a stream",
    breaks: "slumber",
    edits: [{
      file: SLEEP,
      from: 'reply: message.kind === "request" ? reply : NOBODY,',
      to: 'reply: message.kind === "request" ? NOBODY : reply,',
    }],
    by: PROPERTIES,
  },
  {
    name: "a revived backend is not counted",
    breaks: "slumber",
    edits: [{
      file: "actors/admission.ts",
      from: "    if (ownsProcess) this.#processes++;",
      to: "    if (ownsProcess && !isRevival) this.#processes++;",
    }],
    by: PROPERTIES,
  },
  {
    name: "sessions of the last run are not counted",
    breaks: "restart",
    edits: [{ file: "actors/supervisor.ts", from: "this.#door.onRestored(counts);", to: "" }],
    by: PROPERTIES,
  },
  {
    name: "a session is taken up after its end",
    breaks: "restart",
    edits: [{
      file: "actors/supervisor.ts",
      from: "    if (this.#records.isOver(stored.key)) return undefined;\n",
      to: "",
    }],
    by: PROPERTIES,
  },
  {
    name: "downtime does not count",
    breaks: "restart",
    edits: [{
      file: "actors/restore.ts",
      from: "lastUsed: Math.min(clock.now(), instantOf(stored.lastUsed, clock)),",
      to: "lastUsed: clock.now(),",
    }],
    by: PROPERTIES,
  },
  {
    name: "what is in flight is written down once",
    breaks: "restart",
    edits: [{
      file: RECORDS,
      from: "session.marked = !session.closed && session.inFlight > 0;",
      to: "session.marked = false;",
    }],
    by: PROPERTIES,
  },
  {
    name: "ends are written down later",
    breaks: "restart",
    edits: [{
      file: END,
      from: "{ later: FOUND_AGAIN.has(verdict.reason) }",
      to: "{ later: true }",
    }],
    by: PROPERTIES,
  },
  {
    name: "an end by pressure is undone by a restart",
    breaks: "restart",
    edits: [{
      file: TIME,
      from: 'if (core.key !== 0 && (reason === "evicted" || effectiveMs < configuredMs)) {',
      to: "if (effectiveMs > configuredMs) {",
    }],
    by: PROPERTIES,
  },
  {
    name: "a gateway that goes knows of no session",
    breaks: "restart",
    edits: [{
      file: "actors/supervisor.ts",
      from: "if (tombstone === undefined && this.#drain !== undefined && this.#records.durable) {",
      to: "if (tombstone === undefined && this.#drain === null) {",
    }],
    by: PROPERTIES,
  },
  {
    name: "a shutdown ends sessions",
    breaks: "restart",
    edits: [{
      file: END,
      from: "if (!records.durable || core.key === 0 ||",
      to: "if (records.durable || core.key === 0 ||",
    }],
    by: PROPERTIES,
  },
];
