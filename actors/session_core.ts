/**
 * What a session is made of: its state, the things that it owns, and what can be reckoned from them.
 *
 * The code of a session is spread over files by what it is about, and all of it works on this:
 *
 * | file | about |
 * | --- | --- |
 * | `session.ts` | the messages, and what others see of a session and may ask of it |
 * | `session_client.ts` | what the client says |
 * | `session_server.ts` | what the server says, and its end |
 * | `session_time.ts` | what is due, and when: where a session expires |
 * | `session_sleep.ts` | giving the backend back, and getting another one |
 * | `session_end.ts` | the end, and leaving the session to the next run |
 *
 * Nobody else imports it. It decides nothing: it is changed by those files, in the turns of the session's loop.
 *
 * @module
 */
import { CLOSE_PACE, type ClosePace } from "../backends/backend.ts";
import type { Failure } from "../errors.ts";
import { logger } from "../log.ts";
import { canResume } from "../protocol/revisions.ts";
import { Account, notFound, type Verdict } from "./account.ts";
import { Alarm } from "./alarm.ts";
import { Conversation, type ConversationPort } from "./conversation.ts";
import type { EndReason } from "./end_reason.ts";
import { Inbox, type InboxRules } from "./inbox.ts";
import { Lifetime, type TtlInForce } from "./lifetime.ts";
import { Link } from "./link.ts";
import type { ClientMessage, Mail, Signal } from "./mail.ts";
import type { Recorded } from "./records.ts";
import type { Session, SessionState } from "./session.ts";
import type { SessionKind } from "./session_kind.ts";
import type { SessionContext, SessionOptions } from "./session_options.ts";
import { recordText, wallOf } from "./session_record.ts";
import { Slumber } from "./slumber.ts";
import type { Tombstone } from "./tombstones.ts";

/** How to make a {@link SessionCore}. */
export interface CoreOptions extends SessionOptions {
  /** The session itself, for those who are told of it. */
  readonly session: Session;
  readonly rules: InboxRules<SessionCore, Mail, Signal>;
}

const log = logger("session");

/** See the module's documentation. Instants are ms of the clock. */
export class SessionCore implements Recorded {
  readonly session: Session;
  readonly context: SessionContext;
  readonly kind: SessionKind;
  /** Whether its backends count as processes of its own. */
  readonly ownsProcess: boolean;
  readonly implicitVersion: string | undefined;

  readonly inbox: Inbox<SessionCore, Mail, Signal>;
  readonly conversation: Conversation<SessionCore>;
  readonly lifetime: Lifetime;
  readonly account: Account;
  readonly link: Link<SessionCore>;
  /** The one timer, for the earliest thing that may be due. */
  readonly alarm: Alarm<SessionCore>;
  /** When it gives its backend back; undefined where it keeps it. */
  readonly slumber: Slumber | undefined;

  state: SessionState = "starting";
  /** The credential in `mcp-session-id`; empty while nobody has come with that of a restored session. */
  id: string;
  /** SHA-256 of it, until then. */
  digest: string | undefined;
  /** In the store; 0 where it is not there. */
  key = 0;
  /** For the records. */
  marked = false;
  protocolVersion: string | undefined;
  /** The message that woke it, while it waits for a backend. What comes behind it waits in the inbox. */
  waking: ClientMessage | undefined;
  draining = false;
  /** Whether the gateway goes, and the session is left to the next run. */
  suspended = false;
  /** Whether its server died or did not start. That it refused a client is no failure of its own. */
  serverFailed = false;
  /** The fastest pace that an end was asked for with. */
  pace: ClosePace = CLOSE_PACE;
  /** Whether all that it held was given back. */
  isClosed = false;
  /** Resolved then. There is one once somebody wants to know. */
  whenClosed: PromiseWithResolvers<void> | undefined;

  constructor({ session, rules, id, handle, principal, context, kind, restored, ...more }: CoreOptions) {
    const { clock, limits, scale, random } = context;
    const now = clock.now();
    this.session = session;
    this.context = context;
    this.id = id ?? "";
    this.kind = kind ?? "streamable";
    this.ownsProcess = more.ownsProcess;
    this.implicitVersion = more.implicitVersion;
    this.account = new Account({
      handle,
      principal,
      context,
      kind: this.kind,
      ...(restored && { timeline: restored.record.timeline }),
    });
    this.lifetime = new Lifetime({
      limits,
      scale,
      random,
      openedAt: now,
      // Clients of the bridge never get an id to come back with.
      implicit: this.implicitVersion !== undefined && this.kind !== "bridge",
      ...(restored && { restored: restored.record.life }),
    });
    if (limits.hibernateAfterMs > 0) this.slumber = new Slumber(limits.hibernateAfterMs);
    this.inbox = new Inbox<SessionCore, Mail, Signal>(this, rules);
    this.alarm = new Alarm<SessionCore>(clock, this, RING);
    this.link = new Link<SessionCore>({ owner: this, signal: SIGNAL, context, handle });
    this.conversation = new Conversation<SessionCore>({
      owner: this,
      port: PORT,
      handle,
      limits,
      lastUsed: restored?.lastUsed ?? now,
      standing: restored?.record.standing,
      streams: restored && (() => context.records.takeStreams(restored.key)),
    });
    if (restored === undefined) return;
    this.state = "hibernated";
    this.key = restored.key;
    this.digest = restored.digest;
    this.protocolVersion = restored.protocolVersion;
    if (canResume(restored.protocolVersion)) this.conversation.makeResumable();
    this.account.note("hibernated", "the gateway was restarted");
    this.alarm.at(this.deadline);
  }

  get now(): number {
    return this.context.clock.now();
  }

  /** Names it in the log. */
  get names(): { readonly handle: string; readonly serverId: string } {
    return { handle: this.account.handle, serverId: this.context.serverId };
  }

  /** Its server, for people. */
  get serverName(): string {
    return `server "${this.context.serverId}"`;
  }

  /** Why it is over; undefined while it lives. */
  get verdict(): Verdict | undefined {
    return this.account.verdict;
  }

  /** What its client is told once it is over. */
  get notFound(): Failure {
    return notFound(this.verdict);
  }

  /** Whether it has its place in the world: it was opened and is not over. */
  get isAlive(): boolean {
    return this.state === "active" || this.state === "hibernated";
  }

  /** Requests in flight in either direction, and messages that wait for the session to start or to wake up. */
  get inFlight(): number {
    return this.conversation.inFlight + this.inbox.waiting + (this.waking === undefined ? 0 : 1);
  }

  /** Messages, requests and streams that it holds on to; 0 once it ended. */
  get held(): number {
    return this.conversation.held + this.inbox.waiting + (this.waking === undefined ? 0 : 1);
  }

  /** Time since the last use, in ms; 0 while anything is in flight. What it was at the end, once it is over. */
  get idleMs(): number {
    if (this.verdict !== undefined) return this.verdict.idleMs;
    return this.inFlight > 0 ? 0 : this.now - this.conversation.lastUsed;
  }

  /** The TTL in force and where it comes from. */
  get ttl(): TtlInForce {
    return this.verdict?.ttl ?? this.lifetime.ttl;
  }

  /** When it expires if nobody uses it; Infinity for never. */
  get deadline(): number {
    return this.lifetime.deadline(this.conversation.lastUsed);
  }

  /** Whether another backend can take the place of its own. */
  get isRevivable(): boolean {
    return this.key !== 0 && !this.context.limits.stateful;
  }

  /** Whether it gives its backend back by itself. */
  get hibernates(): boolean {
    return this.slumber !== undefined && this.isRevivable && !this.conversation.leansOnServer;
  }

  /** When it gives its backend back if nobody uses it; Infinity for never. */
  get hibernateAt(): number {
    if (this.state !== "active" || !this.hibernates) return Infinity;
    return this.conversation.lastUsed + this.slumber!.afterMs;
  }

  /** For the records: whether nothing more is to be written down of it. */
  get closed(): boolean {
    return this.state === "ended" || this.suspended;
  }

  /** For the records: what changes in its life, as it is now. */
  get change(): Recorded["change"] {
    const { clock } = this.context;
    return {
      lastUsed: wallOf(this.now - this.idleMs, clock),
      state: recordText({
        life: this.lifetime.state,
        timeline: this.account.timeline.state,
        standing: this.conversation.standing?.state,
      }, clock),
    };
  }

  /** Something of it changed that is to be written down. */
  touch(): void {
    this.context.records.changed(this);
  }

  /** Puts down why it is over, as things are now. The first verdict stays. */
  judge(reason: EndReason, detail: string | undefined): Verdict {
    return this.account.judge({ reason, detail, idleMs: this.idleMs, ttl: this.ttl });
  }

  /** What stays of it once it is over. */
  tombstone(): Tombstone {
    return this.account.tombstone(this.protocolVersion);
  }
}

const SIGNAL = (core: SessionCore, signal: Signal) => core.inbox.signal(signal);
const RING = (core: SessionCore) => core.inbox.signal({ tag: "wake" });

const PORT: ConversationPort<SessionCore> = {
  send: (core, text) => core.link.send(text),
  isBusy: (core) => core.link.busy,
  full: (core) => core.inbox.signal({ tag: "full" }),
  room: (core) => core.inbox.signal({ tag: "room" }),
  // May come after the end, from a stream that still had something to deliver.
  cut: ({ account }, { bytes, stalledMs }) =>
    log.warn("Session {handle}: cut a stream, nothing was read for {stalledMs} ms and {bytes} bytes waited", {
      handle: account.handle,
      stalledMs: Math.round(stalledMs),
      bytes,
    }),
};
