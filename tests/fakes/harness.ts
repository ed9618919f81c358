/**
 * A supervisor on fake time with fake backends: what the tests of the actors start from.
 *
 * @module
 */
import {
  type AdmissionLimits,
  type Session,
  type SessionKind,
  type SessionLimits,
  type SupervisedServer,
  Supervisor,
} from "../../actors/supervisor.ts";
import { TtlScale } from "../../actors/pressure.ts";
import { MemoryStore } from "../../stores/memory.ts";
import type { SessionStore } from "../../stores/store.ts";
import { assert, assertExists } from "@std/assert";
import { type Message, parseMessage, type RequestId } from "../../protocol/jsonrpc.ts";
import { FakeBackend } from "./fake_backend.ts";
import { FakeReply, FakeStream } from "./fake_client.ts";
import { FakeClock, settle } from "./fake_clock.ts";

/** Limits that are easy to reckon with. */
export const LIMITS: SessionLimits = {
  idleTtlMs: 300_000,
  implicitTtlMs: 30_000,
  handshakeTtlMs: 0,
  maxLifetimeMs: 0,
  onOpenStream: "expire",
  evictable: false,
  requestTimeoutMs: 3_600_000,
  startTimeoutMs: 60_000,
  hibernateAfterMs: 0,
  stateful: false,
  clientReplyTimeoutMs: 60_000,
  sseAfterMs: 1_000,
  maxInFlight: 64,
};

/** The server that {@link Harness} serves. */
export const SERVER = "fake";
export const PRINCIPAL = "anyone";

/** How to make a {@link Harness}. */
export interface HarnessOptions {
  readonly limits?: Partial<SessionLimits>;
  /** What holds for sessions of the bridge. */
  readonly bridgeLimits?: SessionLimits;
  /** Whether backends answer `initialize` by themselves; true unless said otherwise. */
  readonly autoInitialize?: boolean;
  /** Servers beside {@link SERVER}. */
  readonly moreServers?: readonly SupervisedServer[];
  /** The shortest TTL that memory pressure may cause, in ms. */
  readonly minTtlMs?: number;
  /** What chance takes off maximum lifetimes, from 0; nothing unless given. */
  readonly random?: () => number;
  /** Ended sessions that are remembered. */
  readonly tombstones?: number;
  /** What there may be of everything; any number unless given. */
  readonly admission?: Partial<AdmissionLimits>;
  /** How many sessions {@link SERVER} may have. */
  readonly maxSessions?: number;
  /** How long an opening waits for room, in ms. */
  readonly admissionWaitMs?: number;
  /** Where sessions are written down; a memory of its own unless given. */
  readonly store?: SessionStore;
  readonly fingerprint?: string;
  /** A clock that other harnesses have too. */
  readonly clock?: FakeClock;
}

/** See the module's documentation. */
export class Harness {
  readonly clock: FakeClock;
  /** Every backend that was opened, oldest first. */
  readonly backends: FakeBackend[] = [];
  readonly supervisor: Supervisor;
  readonly limits: SessionLimits;
  readonly scale: TtlScale;
  /** Whether backends that are opened from now on answer `initialize` by themselves. */
  autoInitialize: boolean;

  constructor(
    { limits, autoInitialize = true, moreServers = [], minTtlMs = 30_000, random = () => 0, ...more }:
      HarnessOptions = {},
  ) {
    this.clock = more.clock ?? new FakeClock();
    this.autoInitialize = autoInitialize;
    this.scale = new TtlScale({ minTtlMs });
    this.limits = { ...LIMITS, ...limits };
    this.supervisor = new Supervisor({
      clock: this.clock,
      scale: this.scale,
      random,
      store: more.store ?? new MemoryStore({ tombstones: more.tombstones ?? 10_000 }),
      ...(more.tombstones !== undefined && { tombstones: more.tombstones }),
      limits: {
        maxSessions: Infinity,
        maxSessionsPerPrincipal: Infinity,
        maxProcesses: Infinity,
        ...more.admission,
      },
      admissionWaitMs: more.admissionWaitMs ?? 0,
      servers: [{
        id: SERVER,
        ...(more.maxSessions !== undefined && { maxSessions: more.maxSessions }),
        limits: this.limits,
        fingerprint: more.fingerprint ?? "",
        ...(more.bridgeLimits !== undefined && { bridgeLimits: more.bridgeLimits }),
        backend: (owner, events) => {
          const backend = new FakeBackend(owner, events, { autoInitialize: this.autoInitialize });
          this.backends.push(backend);
          return backend;
        },
      }, ...moreServers],
    });
  }

  /** The newest backend. */
  get backend(): FakeBackend {
    const backend = this.backends.at(-1);
    assertExists(backend, "no backend was opened");
    return backend;
  }

  /** Sends an opener, and returns its reply at once. */
  opening(
    message: Message,
    implicitVersion?: string,
    principal = PRINCIPAL,
    kind?: SessionKind,
  ): FakeReply {
    const reply = new FakeReply();
    this.supervisor.open({
      serverId: SERVER,
      principal,
      opener: { tag: "message", message, reply },
      implicitVersion,
      ...(kind !== undefined && { kind }),
    });
    return reply;
  }

  /** Opens a session with `initialize`. */
  async open(kind?: SessionKind): Promise<{ session: Session; backend: FakeBackend; reply: FakeReply }> {
    const reply = this.opening(request("initialize", { id: "init" }), undefined, PRINCIPAL, kind);
    await settle();
    assertExists(reply.sessionId, "the opening named no session");
    const session = this.supervisor.find(SERVER, reply.sessionId, PRINCIPAL);
    assertExists(session, "the opened session is not to be found");
    return { session, backend: this.backend, reply };
  }
}

/** A request of the client. */
export function request(
  method: string,
  { id = 1, params }: { id?: RequestId; params?: Record<string, unknown> } = {},
): Message {
  return message({ id, method, ...(params && { params }) });
}

/** Any message, from the object that it is. */
export function message(fields: Record<string, unknown>): Message {
  const parsed = parseMessage(JSON.stringify({ jsonrpc: "2.0", ...fields }));
  assert(parsed.kind !== "malformed", "a test made what is no message");
  return parsed;
}

/** Posts a message to a session and lets it be handled. */
export async function post(session: Session, message: Message): Promise<FakeReply> {
  const reply = new FakeReply();
  session.post({ tag: "message", message, reply });
  await settle();
  return reply;
}

/** Opens the standalone stream of a session. */
export async function openStream(session: Session): Promise<{ stream: FakeStream; reply: FakeReply }> {
  const stream = new FakeStream();
  const reply = new FakeReply();
  session.post({ tag: "stream", stream, reply });
  await settle();
  return { stream, reply };
}
