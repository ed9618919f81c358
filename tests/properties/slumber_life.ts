/**
 * One session from outside, over all runs: what its client may rely on.
 *
 * What was written down may be as old as `FLUSH_MS` when a gateway is killed. So what is believed of a session is a
 * history: after a kill what was true that long before holds, or anything that was true since.
 *
 * @module
 */
import { assert } from "@std/assert";
import { FLUSH_MS } from "../../actors/records.ts";
import { publicHandle } from "../../actors/session_id.ts";
import type { SessionLimits } from "../../actors/supervisor.ts";
import type { FakeReply, FakeStream } from "../fakes/fake_client.ts";
import { SERVERS } from "./slumber_commands.ts";
import type { Standing } from "./slumber_standing.ts";
import type { Run, Server } from "./slumber_run.ts";

/** How long a client has to answer a ping, and a server's request to be given up, at most; in ms. */
const PING_MS = 10_000;
/** How long it may have waited until it was opened, at most. */
const MAX_WAIT_MS = 2_000;

/** Failures of messages that may not have moved the deadline. */
const UNHEARD: ReadonlySet<string> = new Set([
  "sessionNotFound",
  "shuttingDown",
  "inboxFull",
  "backendStartFailed",
  "serverQuarantined",
  "limitReached",
]);

/** Something that the client sent, and where it is answered. */
export interface Mail {
  readonly what: "open" | "request" | "notification" | "response" | "pong" | "stream";
  readonly id: string | number;
  /** Marks it, so that it is known wherever it turns up. */
  readonly tag: string;
  readonly reply: FakeReply;
  readonly run: Run;
  /** When it was sent, wall time. */
  readonly at: number;
  readonly stream?: FakeStream;
  /** What another server has to be told once this one has agreed. */
  readonly standing?: (standing: Standing) => Standing;
  /** Whether it was over at the last look. */
  settled: boolean;
}

/** What is believed at one instant of wall time. */
interface Belief {
  readonly at: number;
  /** When it was last used, at the least. */
  readonly used: number;
  /** Whether something of the client's is in flight. */
  readonly inUse: boolean;
  readonly claimed: boolean;
  readonly requests: number;
  readonly standing: Standing;
}

/** See the module's documentation. */
export class Life {
  readonly mail: Mail[] = [];
  /** The marks of all of them. */
  readonly tags = new Set<string>();
  readonly limits: SessionLimits;
  /** Why it is over; undefined while it lives. */
  over: string | undefined;
  deleted = false;
  /** What its first server said that it is. */
  knows: Server["greeted"];
  /** Whether that was met. */
  met = false;
  /** Whether a server answered differently than the one that its client knows. */
  differed = false;
  standalone: FakeStream | undefined;
  /** How often each mark reached a server. */
  readonly reached = new Map<string, number>();
  /** When it was last used at the most, wall time, pings aside. */
  usedAtMost = 0;
  /** When a server's request last reached its client. */
  askedAt = -Infinity;
  /** When its server last went by itself. */
  exitedAt = -Infinity;
  openedAt = 0;
  readonly pings: string[] = [];
  /** The version of what another server has to be told, or several that may have been written down. */
  standings: Standing[] = [[]];
  #unsettled: Mail[] = [];
  /** Mail of this run that was not looked at since it was answered. */
  unchecked: Mail[] = [];
  #handle: string | undefined;
  #id: string | undefined;
  #history: Belief[] = [];
  #used = 0;
  #claimed: boolean;
  #requests = 0;

  constructor(
    readonly no: number,
    readonly server: number,
    readonly implicit: boolean,
    readonly params: unknown,
  ) {
    this.limits = SERVERS[server]!;
    this.#claimed = !implicit;
  }

  get opener(): Mail {
    return this.mail[0]!;
  }

  /** Its credential, once its client was told. */
  get id(): string | undefined {
    const { completion, sessionId } = this.opener.reply;
    if (this.#id !== undefined) return this.#id;
    if (completion?.kind !== "answered") return undefined;
    return this.#id = this.implicit || !("error" in JSON.parse(completion.text)) ? sessionId : undefined;
  }

  /** Its public name, which the servers know. */
  get handle(): string | undefined {
    const { sessionId } = this.opener.reply;
    return sessionId === undefined ? undefined : (this.#handle ??= publicHandle(sessionId));
  }

  /** Messages that are not answered. */
  get pending(): Mail[] {
    return this.#unsettled.filter(({ reply, what }) => what !== "stream" && reply.completion === undefined);
  }

  sent(mail: Mail): void {
    this.mail.push(mail);
    this.tags.add(mail.tag);
    this.#unsettled.push(mail);
    this.unchecked.push(mail);
  }

  /** Takes down what became of its mail, as of now. */
  look(now: number): void {
    for (const mail of this.#unsettled) if (mail.reply.completion !== undefined) this.#settle(mail, now);
    this.#unsettled = this.#unsettled.filter(({ settled }) => !settled);
    const inUse = this.pending.length > 0;
    if (inUse) this.usedAtMost = now;
    if (inUse && this.id !== undefined) this.#claimed = true;
    const belief: Belief = {
      at: now,
      used: inUse ? now : this.#used,
      inUse,
      claimed: this.#claimed,
      requests: this.#requests,
      standing: this.standings.at(-1)!,
    };
    this.#history.push(belief);
    // Nobody asks for what is older.
    while (this.#history.length > 2 && this.#history[1]!.at < now - 2 * FLUSH_MS) this.#history.shift();
  }

  #settle(mail: Mail, now: number): void {
    mail.settled = true;
    const { completion } = mail.reply;
    if (completion?.kind === "failed" && UNHEARD.has(completion.failure.code)) {
      const { code } = completion.failure;
      if (code === "sessionNotFound") return;
      this.usedAtMost = now;
      // What was refused later than at once was in flight until then.
      if (code !== "inboxFull" && mail.at < now && mail.what !== "stream") this.#used = now;
      return;
    }
    this.usedAtMost = now;
    if (mail.what !== "open") this.#claimed = true;
    if (mail.what === "pong" || mail.what === "stream") return;
    this.#used = now;
    if (mail.what === "request" && completion?.kind === "answered") this.#requests++;
    if (mail.standing === undefined || completion?.kind !== "answered") return;
    if ("error" in JSON.parse(completion.text)) return;
    this.standings = this.standings.map((standing) => mail.standing!(standing));
  }

  /** From when on it may take no requests, wall time. */
  get endOfLife(): number {
    const { maxLifetimeMs } = this.limits;
    return maxLifetimeMs === 0 ? Infinity : this.openedAt + maxLifetimeMs;
  }

  /** When it may be over by time at the earliest, and when it must be at the latest; wall time. */
  bounds(
    { pressed, minTtlMs }: { pressed: boolean; minTtlMs: number },
  ): { readonly from: number; readonly until: number } {
    const { endOfLife } = this;
    const { idleTtlMs, implicitTtlMs, onOpenStream } = this.limits;
    const ttlMs = this.#claimed ? idleTtlMs : Math.min(idleTtlMs, implicitTtlMs);
    const shortest = pressed ? Math.min(minTtlMs, ttlMs) : ttlMs;
    const idle = this.usedAtMost + idleTtlMs + (onOpenStream === "ping" ? PING_MS : 0);
    return {
      from: Math.min(this.#used + shortest, endOfLife),
      until: Math.max(
        Math.min(idle, endOfLife + MAX_WAIT_MS),
        this.askedAt + this.limits.clientReplyTimeoutMs + 1,
      ),
    };
  }

  /** Its gateway is gone since `now`: what holds in the next run. */
  restarted(now: number, { killed }: { killed: boolean }): void {
    if (this.askedAt + this.limits.clientReplyTimeoutMs > now) this.usedAtMost = now;
    for (const mail of this.#unsettled) mail.settled = true;
    this.#unsettled = this.unchecked = [];
    this.standalone = undefined;
    this.pings.length = 0;
    if (!killed) return void (this.#history = []);
    const then = now - FLUSH_MS;
    let at = this.#history.findLastIndex((belief) => belief.at <= then);
    if (at < 0) at = 0;
    const belief = this.#history[at];
    if (belief === undefined) return;
    this.#used = belief.inUse ? Math.max(belief.used, Math.min(then, now)) : belief.used;
    this.#claimed = belief.claimed;
    this.#requests = belief.requests;
    const since = [belief, ...this.#history.slice(at + 1)].map(({ standing }) => standing);
    this.standings = [...this.standings.length > 1 ? this.standings : [], ...since];
    this.#history = [];
  }

  /** Checks what a revived server was told, which says what was written down. */
  told(standing: Standing): void {
    const found = this.standings.find((known) => known.join() === standing.join());
    const known = this.standings.map((known) => `[${known.join()}]`).join(" or ");
    assert(
      found !== undefined,
      `another server of session ${this.no} was asked for [${standing.join()}], not ${known}`,
    );
    this.standings = [found];
  }

  /** How many requests it must count at the least. */
  get requests(): number {
    return this.#requests;
  }
}
