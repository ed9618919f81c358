/**
 * What must hold of sessions that hibernate and of gateways that follow one another, whatever happened and in whatever
 * order.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import type { Explanation } from "../../actors/account.ts";
import type { Session, Verdict } from "../../actors/supervisor.ts";
import type { Failure } from "../../errors.ts";
import type { Message } from "../../protocol/jsonrpc.ts";
import { PRINCIPAL } from "../fakes/harness.ts";
import type { Life, Mail } from "./slumber_life.ts";
import { MIN_TTL_MS, type Run, type Server, serverId } from "./slumber_run.ts";

/** Failures of requests that reach no server. */
const REFUSALS: ReadonlySet<string> = new Set([
  "duplicateId",
  "inboxFull",
  "sessionNotFound",
  "serverQuarantined",
  "limitReached",
  "backendStartFailed",
  "storeFailed",
]);

/** See the module's documentation. */
export class Watch {
  /** Whether memory was ever short. */
  pressed = false;
  readonly #lives: readonly Life[];

  constructor(lives: readonly Life[]) {
    this.#lives = lives;
  }

  /** Looks at everything, once all has settled. */
  look(run: Run): void {
    assertEquals(run.faults, []);
    for (const server of run.servers) this.#readServer(server);
    const now = run.clock.wallTime();
    for (const life of this.#lives) {
      life.look(now);
      life.unchecked = life.unchecked.filter((mail) => !this.#checkMail(life, mail));
      if (life.id !== undefined && life.over === undefined) this.#checkLife(life, run, now);
      else if (life.over !== undefined) this.#checkStaysOver(life, run);
    }
    this.#checkDoor(run);
  }

  /** A life whose client was told of it: it is there, unless it may be over. */
  #checkLife(life: Life, run: Run, now: number): void {
    const session = run.supervisor.byHandle(life.handle!);
    if (session !== undefined && !session.expired && session.state !== "ended") {
      return this.#checkSession(life, session, run);
    }
    // Those that nobody has come for yet wait in the store, and those of a gateway that goes are left there.
    if (session === undefined && (!run.restored || run.drained !== undefined)) {
      const tombstone = run.supervisor.tombstones.get(life.handle!);
      if (tombstone === undefined) return;
    }
    this.#isOver(life, session?.verdict ?? run.supervisor.tombstones.get(life.handle!)?.verdict, now);
  }

  /** A message of the client's was told that its session is over. */
  onNotFound(life: Life, { data }: Failure, now: number): void {
    if (life.id === undefined || life.over !== undefined) return;
    // Past its maximum lifetime it finishes what is in flight, and begins nothing.
    if (data === undefined && now >= life.endOfLife) return;
    this.#isOver(life, data as Explanation | undefined, now);
  }

  #isOver(life: Life, verdict: Pick<Verdict, "reason"> | undefined, now: number): void {
    const reason = verdict?.reason;
    const about = `session ${life.no} is over (${reason ?? "without a reason"}) at ${now}`;
    assert(reason !== undefined, about);
    const { from } = life.bounds({ pressed: this.pressed, minTtlMs: MIN_TTL_MS });
    const { limits } = life;
    switch (reason) {
      case "client_delete":
        assert(life.deleted, about);
        break;
      case "idle":
      case "implicit":
      case "max_lifetime":
        assert(now >= from, `${about}, and not before ${from}`);
        break;
      case "evicted":
        assert(limits.evictable, about);
        break;
      case "backend_exit":
      case "stateful":
        assert(limits.stateful, about);
        break;
      case "server_changed":
        assert(life.differed, about);
        break;
      default:
        assert(false, about);
    }
    if (reason !== "client_delete" && reason !== "server_changed") {
      for (const { tag } of life.pending) assert(false, `${about} while ${tag} is in flight`);
    }
    life.over = reason;
  }

  /** An end is never undone. */
  #checkStaysOver(life: Life, { supervisor }: Run): void {
    const session = supervisor.byHandle(life.handle!);
    if (session === undefined) return;
    assert(
      session.expired || session.state === "ended",
      `session ${life.no} was over (${life.over}) and is ${session.state} again`,
    );
  }

  #checkSession(life: Life, session: Session, run: Run): void {
    const { state, waking } = session;
    const about = `session ${life.no} is ${state}`;
    assertEquals([session.serverId, session.principal], [serverId(life.server), PRINCIPAL]);
    assert(
      session.account.timeline.counters.requests >= life.requests,
      `session ${life.no} counts ${session.account.timeline.counters.requests} of ${life.requests} requests`,
    );
    const server = run.serverOf(life.handle);
    const isUp = server !== undefined && server.closes.length === 0;
    if (run.drained !== undefined) return;
    if (state === "active") {
      assert(isUp, `${about} without a backend`);
      for (const { tag, what } of life.pending) {
        if (what === "request") {
          assertEquals(life.reached.get(tag), 1, `${tag} is in flight and reached no server`);
        }
      }
    }
    if (state !== "hibernated") return;
    assert(!life.limits.stateful, `${about}, though no other server can take its server's place`);
    if (waking) return assert(life.pending.length > 0, `${about} and wakes for nobody`);
    assert(!isUp, `${about} and has a backend`);
    assertEquals(life.pending.map(({ tag }) => tag), [], `${about} while something is in flight`);
    assertEquals(session.inFlight, 0, `${about} while a request of its server is in flight`);
  }

  /** After its deadline, as late as it can be, nothing but 404. */
  checkLate(life: Life, mail: Mail, { isQuiet, until }: { isQuiet: boolean; until: number }): void {
    if (!isQuiet || mail.at < until) return;
    const { completion } = mail.reply;
    assert(
      completion?.kind === "failed" &&
        (completion.failure.code === "sessionNotFound" || completion.failure.code === "shuttingDown"),
      `session ${life.no} took ${mail.tag} at ${mail.at}, after its deadline ${until}`,
    );
  }

  #readServer(server: Server): void {
    const life = this.#lives.find(({ handle }) => handle === server.owner.session);
    if (life === undefined) return;
    life.knows ??= server.greeted;
    if (server.greeted !== undefined && server.greeted !== life.knows) life.differed = true;
    const { received } = server;
    const isFirst = !life.met;
    for (let at = server.seen; at < received.length; at++) {
      const message = received[at]!;
      const tag = markOf(message);
      if (tag === undefined) continue;
      const times = (life.reached.get(tag) ?? 0) + 1;
      assert(life.tags.has(tag), `${tag} reached the server of session ${life.no}`);
      assertEquals(times, 1, `${tag} reached servers more than once`);
      life.reached.set(tag, times);
    }
    server.seen = received.length;
    if (server.checked === "all" || received.length === 0) return;
    if (isFirst) {
      life.met = true;
      server.checked = "all";
      return;
    }
    this.#checkRevival(life, server);
  }

  /** What a server in another's place was told, in order. */
  #checkRevival(life: Life, server: Server): void {
    // That nobody answers what it asked is the gateway's to say.
    const received = server.received.filter((message) =>
      message.kind !== "response" || message.error === undefined
    );
    const [initialize, initialized, ...more] = received;
    assert(initialize?.kind === "request" && initialize.method === "initialize", "not initialized first");
    if (!life.implicit) {
      assertEquals(initialize.params, life.params, "another server was initialized differently");
    }
    if (server.greeted === undefined || server.greeted !== life.knows) {
      return assertEquals(received.length, 1, "a server that did not agree was told more");
    }
    server.checked = "all";
    // It was let go before it was heard.
    if (initialized === undefined) return;
    assertEquals(wordOf(initialized), "notifications/initialized");
    const end = more.findIndex((message) => !isReplayed(message));
    const rest = end < 0 ? [] : more.slice(end);
    life.told(more.slice(0, more.length - rest.length).map(wordOf));
    assert(!rest.some(isReplayed), "something was asked for again after what the client said");
    assert(!rest.some((message) => wordOf(message) === "initialize"), "a server was initialized twice");
  }

  /** Whether nothing more can come of it. */
  #checkMail(life: Life, mail: Mail): boolean {
    const { reply, tag, what, run } = mail;
    assert(what === "request" || what === "open" || !reply.streaming, `the reply to ${tag} became a stream`);
    const { completion } = reply;
    if (completion?.kind !== "failed") return completion !== undefined;
    const { code } = completion.failure;
    assert(code !== "internal", `${tag} met a fault of the gateway`);
    const now = run.clock.wallTime();
    assert(code !== "backendGone" || life.exitedAt === now, `${tag} lost its server, which did not go`);
    // Before it was open, what its client sent at once went to the server that then did not start.
    if (REFUSALS.has(code) && life.opener.reply.completion?.kind === "answered") {
      assertEquals(life.reached.get(tag) ?? 0, 0, `${tag} was refused (${code}) and reached a server`);
    }
    if (code === "sessionNotFound") this.onNotFound(life, completion.failure, now);
    return true;
  }

  /** What counts against the limits is what is there. */
  #checkDoor({ supervisor, servers, restored, drained }: Run): void {
    const { processes, sessions, waiting } = supervisor.door.counts;
    assertEquals(processes, servers.filter(({ closed }) => !closed).length, "processes");
    if (drained !== undefined) return assertEquals(waiting, 0, "openings wait while the gateway goes");
    if (!restored) return;
    const living = Array.from(supervisor.sessions).filter(({ state }) => state !== "ended");
    assertEquals(sessions, living.length, "sessions");
  }
}

/** The mark of a message of a client. */
function markOf(message: Message): string | undefined {
  const tag = message.kind === "response" ? message.result?.tag : message.params?.tag;
  return typeof tag === "string" ? tag : undefined;
}

function isReplayed(message: Message): boolean {
  return message.kind === "request" && String(message.id).startsWith("sojourn:replay:");
}

/** A message in one word, for what is asked for good with what it says. */
function wordOf(message: Message): string {
  if (message.kind === "response") return "response";
  const { method, params } = message;
  const value = params?.level ?? params?.uri;
  return typeof value === "string" ? `${method} ${value}` : method;
}
