/**
 * What `tools/mutants.ts` breaks: each mutant takes one promise of the gateway back, by a change of a line or two.
 *
 * A text to replace has to occur exactly once in its file, so that a mutant cannot silently stop breaking anything.
 *
 * @module
 */

import { SLUMBER_MUTANTS } from "./mutants_slumber.ts";

/** What must always hold, under every interleaving, and what holds of time. */
export const INVARIANTS = {
  inUse:
    "A session with a request in flight is never expired, swept or evicted; time-outs bound how long that is",
  once: "A request reaches its server once or is refused; never both, never twice",
  deadline: "From its deadline on a session answers 404, swept or not, and not before",
  nothingLeft: "After the end no timer, process, stream, pending reply or map entry is left",
  apart: "What belongs to one session or principal never reaches another",
  allSteps: "An end is idempotent and takes all its steps, also where one fails",
  oneReason: "Every end has one reason, which its tombstone keeps",
  activity: "Only what the client does keeps a session; a stream that is merely open is asked",
  pressure: "Only memory pressure shortens TTLs, as far as the formula says, and evicts only what may go",
  account: "What is counted is what happened",
  slumber:
    "An idle session may hibernate, and is revived once, by a server that knows what the first one knew",
  restart: "What was acknowledged is there in the next run as it was left, and what is over stays over",
  resumed: "What is resumed is all that followed on that stream, in order and once, or refused",
} as const;

/** A change of one file. */
export interface Edit {
  /** Relative to the project's root. */
  readonly file: string;
  /** Occurs exactly once there. */
  readonly from: string;
  readonly to: string;
}

/** The tests that look for mutants. */
export type Suite = "units" | "properties";

/** One way of breaking the gateway. */
export interface Mutant {
  readonly name: string;
  readonly breaks: keyof typeof INVARIANTS;
  readonly edits: readonly Edit[];
  /** The tests that have to notice. */
  readonly by: readonly Suite[];
}

const SESSION = "actors/session.ts";
const CLIENT = "actors/session_client.ts";
const SERVER = "actors/session_server.ts";
const TIME = "actors/session_time.ts";
const END = "actors/session_end.ts";
const EVENT_LOG = "actors/event_log.ts";
const CONVERSATION = "actors/conversation.ts";
const LIFETIME = "actors/lifetime.ts";
const BOTH = ["units", "properties"] as const;

/** All of them. */
export const MUTANTS: readonly Mutant[] = [
  {
    name: "deadline off by one",
    breaks: "deadline",
    edits: [{
      file: TIME,
      from: " || now < core.deadline) return;",
      to: " || now <= core.deadline) return;",
    }],
    by: BOTH,
  },
  {
    name: "only the timer sees the deadline",
    breaks: "deadline",
    edits: [{
      file: SESSION,
      from: "return isExpired(this.#core, this.#core.now);",
      to: 'return this.#core.state === "expired";',
    }, {
      file: TIME,
      from: '  expireIfDue(core, now);\n  return core.state === "expired";',
      to: '  return now >= 0 && core.state === "expired";',
    }],
    by: BOTH,
  },
  {
    name: "touch after expiry",
    breaks: "deadline",
    edits: [{
      file: CLIENT,
      from: "  if (isExpired(core, now)) return mail.reply.fail(core.notFound);\n",
      to: '  if (core.state === "active") core.conversation.heard(now);\n',
    }],
    by: BOTH,
  },
  {
    name: "a server that speaks revives its session",
    breaks: "deadline",
    edits: [{ file: SERVER, from: "  if (isExpired(core, now)) return;\n", to: "" }],
    by: ["properties"],
  },
  {
    name: "whoever ends a session after its deadline gives the reason",
    breaks: "oneReason",
    edits: [{ file: SESSION, from: "      expireIfDue(core, core.now);\n", to: "" }],
    by: ["properties"],
  },
  {
    name: "the client's requests in flight ignored",
    breaks: "inUse",
    edits: [
      {
        file: TIME,
        from: "if (conversation.requestsInFlight > 0 || now < core.deadline) return;",
        to: "if (now < core.deadline) return;",
      },
      {
        file: CONVERSATION,
        from: "return this.#exchanges.size + this.#questions.inFlight;",
        to: "return this.#questions.inFlight;",
      },
    ],
    by: BOTH,
  },
  {
    name: "the server's requests in flight ignored",
    breaks: "inUse",
    edits: [{
      file: CONVERSATION,
      from: "return this.#exchanges.size + this.#questions.inFlight;",
      to: "return this.#exchanges.size;",
    }],
    by: BOTH,
  },
  {
    name: "eviction of a session in use",
    breaks: "inUse",
    edits: [{
      file: SESSION,
      from: "core.isAlive && core.inFlight === 0;",
      to: "core.isAlive;",
    }],
    by: BOTH,
  },
  {
    name: "progress keeps a request for ever",
    breaks: "inUse",
    edits: [{
      file: CONVERSATION,
      from: "Math.min(freshAt + waitedMs + timeoutMs, sentAt + MAX_TIMEOUTS * timeoutMs) - now",
      to: "freshAt + waitedMs + timeoutMs - now",
    }],
    by: BOTH,
  },
  {
    name: "progress gives no time",
    breaks: "inUse",
    edits: [{ file: CONVERSATION, from: "    exchange.freshAt = now;\n", to: "" }],
    by: BOTH,
  },
  {
    name: "a maximum lifetime ends requests in flight",
    breaks: "inUse",
    edits: [{
      file: TIME,
      from: "  const { conversation, lifetime } = core;\n  if (!core.isAlive",
      to: "  const { conversation, lifetime } = core;\n" +
        '  if (core.state === "active" && now >= lifetime.endOfLife) return expire(core, "max_lifetime");\n' +
        "  if (!core.isAlive",
    }],
    by: BOTH,
  },
  {
    name: "a request is sent twice",
    breaks: "once",
    edits: [{
      file: CONVERSATION,
      from: "      timeoutMs,\n    });\n    this.#send(message.text);\n",
      to: "      timeoutMs,\n    });\n    this.#send(message.text);\n    this.#send(message.text);\n",
    }],
    by: BOTH,
  },
  {
    name: "a request is sent, then refused",
    breaks: "once",
    edits: [{
      file: CONVERSATION,
      from: "    if (this.#exchanges.has(message.id)) return {",
      to:
        "    if (this.#exchanges.has(message.id)) this.#send(message.text);\n    if (this.#exchanges.has(message.id)) return {",
    }],
    by: BOTH,
  },
  {
    name: "a timer is left",
    breaks: "nothingLeft",
    edits: [{ file: END, from: "    () => alarm.off(),\n", to: "" }],
    by: BOTH,
  },
  {
    name: "a timer is set after the end",
    breaks: "nothingLeft",
    edits: [{
      file: TIME,
      from: 'if (core.state === "expired" || core.state === "ended") return;',
      to: 'if (core.state === "expired") return;',
    }],
    by: ["properties"],
  },
  {
    name: "a server is left",
    breaks: "nothingLeft",
    edits: [{
      file: END,
      from: "const backendClosed = core.link.close(core.pace);",
      to: "const backendClosed = undefined;",
    }],
    by: BOTH,
  },
  {
    name: "a stream is left open",
    breaks: "nothingLeft",
    edits: [{ file: CONVERSATION, from: "\n    standalone?.close();\n", to: "\n" }],
    by: BOTH,
  },
  {
    name: "replies are left pending",
    breaks: "nothingLeft",
    edits: [{
      file: CONVERSATION,
      from: "for (const { reply } of exchanges) reply.fail(failure);\n    standalone?.close();",
      to: "standalone?.close();",
    }],
    by: BOTH,
  },
  {
    name: "an ended session stays in the map",
    breaks: "nothingLeft",
    edits: [{ file: "actors/supervisor.ts", from: "    this.#byHandle.delete(session.handle);\n", to: "" }],
    by: BOTH,
  },
  {
    name: "a session is found by anybody",
    breaks: "apart",
    edits: [{
      file: "actors/supervisor.ts",
      from: "session?.serverId === serverId && session.principal === principal ? session",
      to: "session?.serverId === serverId ? session",
    }],
    by: ["units"],
  },
  {
    name: "double close",
    breaks: "allSteps",
    edits: [{
      file: "actors/inbox.ts",
      from: "  signal(signal: Signal): void {\n    if (this.#closed) return;\n",
      to: "  signal(signal: Signal): void {\n",
    }],
    by: BOTH,
  },
  {
    name: "a step that fails ends the end",
    breaks: "allSteps",
    edits: [{
      file: END,
      from: "      step();\n    } catch (error) {\n",
      to: "      step();\n    } catch (error) {\n      return onFault(core, error, undefined);\n",
    }],
    by: ["units"],
  },
  {
    name: "the last reason wins",
    breaks: "oneReason",
    edits: [{
      file: "actors/account.ts",
      from: "    if (this.#verdict !== undefined) return this.#verdict;\n",
      to: "",
    }],
    by: BOTH,
  },
  {
    name: "a late message changes the reason",
    breaks: "oneReason",
    edits: [{
      file: SESSION,
      from: '    const alive = !this.expired && this.state !== "ended";\n',
      to: '    lifetime.claim();\n    const alive = !this.expired && this.state !== "ended";\n',
    }],
    by: ["properties"],
  },
  {
    name: "no tombstone",
    breaks: "oneReason",
    edits: [{
      file: "actors/supervisor.ts",
      from: "if (session.verdict !== undefined) this.tombstones",
      to: "if (session.verdict === undefined) this.tombstones",
    }],
    by: BOTH,
  },
  {
    name: "an open stream keeps its session",
    breaks: "activity",
    edits: [{
      file: LIFETIME,
      from: " || this.#isAsked(lastUsed)) {",
      to: ") {",
    }],
    by: BOTH,
  },
  {
    name: "an answer to a ping is activity",
    breaks: "activity",
    edits: [{
      file: CLIENT,
      from: "    conversation.alive();\n",
      to: "    conversation.heard(now);\n",
    }],
    by: BOTH,
  },
  {
    name: "a server's requests keep the session of a client that is gone",
    breaks: "activity",
    edits: [{
      file: "actors/questions.ts",
      from: "    if (this.#clientSilent) return;\n",
      to: "",
    }],
    by: BOTH,
  },
  {
    name: "extending for less shortens",
    breaks: "deadline",
    edits: [{
      file: LIFETIME,
      from: "this.#extendedUntil = Math.max(this.#extendedUntil, until);",
      to: "this.#extendedUntil = until;",
    }],
    by: BOTH,
  },
  {
    name: "new requests past the maximum lifetime",
    breaks: "deadline",
    edits: [{
      file: CLIENT,
      from: "  if (isRequest && isPastItsLife(core, now)) return core.notFound;\n",
      to: "",
    }],
    by: BOTH,
  },
  {
    name: "TTLs shrink to nothing",
    breaks: "pressure",
    edits: [{
      file: "actors/pressure.ts",
      from: "const minMs = Math.min(this.#minTtlMs, ttlMs);",
      to: "const minMs = 0;",
    }],
    by: BOTH,
  },
  {
    name: "every twitch of memory moves the deadlines",
    breaks: "pressure",
    edits: [{ file: "actors/pressure.ts", from: "const DEADBAND = 0.02;", to: "const DEADBAND = 0;" }],
    by: BOTH,
  },
  {
    name: "eviction where it is not allowed",
    breaks: "pressure",
    edits: [{ file: SESSION, from: "return core.context.limits.evictable && ", to: "return " }],
    by: BOTH,
  },
  {
    name: "eviction of those due last",
    breaks: "pressure",
    edits: [{
      file: "actors/sweeper.ts",
      from: ".sort((a, b) => a.deadline - b.deadline)",
      to: ".sort((a, b) => b.deadline - a.deadline)",
    }],
    by: BOTH,
  },
  {
    name: "a client that misses its session counts each time",
    breaks: "account",
    edits: [{
      file: "actors/account.ts",
      from: "if (verdict.missed || verdict.idleMs",
      to: "if (verdict.idleMs",
    }],
    by: BOTH,
  },
  {
    name: "a resumed stream begins with what its client has",
    breaks: "resumed",
    edits: [{ file: EVENT_LOG, from: "no > parsed.event) missed", to: "no >= parsed.event) missed" }],
    by: BOTH,
  },
  {
    name: "a resume past what is kept leaves a hole",
    breaks: "resumed",
    edits: [{
      file: EVENT_LOG,
      from: 'if (parsed.event < stream.gone) return { kind: "gap" };',
      to: "",
    }],
    by: BOTH,
  },
  {
    name: "a resumed stream has the events of all streams",
    breaks: "resumed",
    edits: [{ file: EVENT_LOG, from: "if (of === stream && no", to: "if (no" }],
    by: BOTH,
  },
  {
    name: "any epoch is the log's own",
    breaks: "resumed",
    edits: [{
      file: EVENT_LOG,
      from: "if (parsed.epoch !== this.#epoch) return",
      to: "if (parsed.epoch === undefined) return",
    }],
    by: BOTH,
  },
  {
    name: "an exported log forgets which events are gone",
    breaks: "resumed",
    edits: [{ file: EVENT_LOG, from: "      stream.gone = gone;\n", to: "" }],
    by: ["units"],
  },
  {
    name: "a request that a restart interrupts is never answered",
    breaks: "resumed",
    edits: [{ file: EVENT_LOG, from: "more : [rpcErrorText(INTERRUPTED, requestId)];", to: "more : [];" }],
    by: ["units"],
  },
  {
    name: "an earlier run's request is given up though it is in flight again",
    breaks: "resumed",
    edits: [{
      file: CONVERSATION,
      from: "requestId === undefined || this.#exchanges.has(requestId)",
      to: "requestId === undefined",
    }],
    by: BOTH,
  },
  {
    name: "a connection that a resumed stream left stays open",
    breaks: "resumed",
    edits: [{ file: CONVERSATION, from: "    before.drop();\n", to: "" }],
    by: ["properties"],
  },
  {
    name: "progress overtakes what waits on its lost stream",
    breaks: "resumed",
    edits: [{ file: CONVERSATION, from: " || (isProgress && reply.resumable)", to: "" }],
    by: ["properties"],
  },
  {
    name: "what was kept for a client that comes back is sent twice",
    breaks: "resumed",
    edits: [{
      file: CONVERSATION,
      from: "    this.#backlog = undefined;\n    return kept;",
      to: "    return kept;",
    }, {
      file: "actors/backlog.ts",
      from: "    this.#messages = [];\n    this.#chars = 0;\n    return all;",
      to: "    return [...all];",
    }],
    by: ["properties"],
  },
  {
    name: "the bridge sends again what was sent",
    breaks: "once",
    edits: [{
      file: "routes/bridge_sessions.ts",
      from: 'failure.code !== "sessionNotFound" || tries',
      to: "tries",
    }],
    by: ["units"],
  },
  {
    name: "principals share sessions of the bridge",
    breaks: "apart",
    edits: [{ file: "routes/bridge.ts", from: "keyOf(principal, serverId)", to: 'keyOf("", serverId)' }],
    by: ["units"],
  },
  {
    name: "the bridge keeps entries of sessions that are over",
    breaks: "nothingLeft",
    edits: [{
      file: "routes/bridge_sessions.ts",
      from: "onOver: () => this.#drop(key, entry),",
      to: "onOver: () => {},",
    }],
    by: ["units"],
  },
  ...SLUMBER_MUTANTS,
];
