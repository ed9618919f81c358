/**
 * Takes down what turned up since the last look, and checks what must hold at any time.
 *
 * @module
 */
import type { Session, Supervisor } from "../../actors/supervisor.ts";
import type { ErrorCode } from "../../errors.ts";
import type { Message } from "../../protocol/jsonrpc.ts";
import { assert, assertEquals } from "@std/assert";
import type { FakeBackend } from "../fakes/fake_backend.ts";
import { PRINCIPAL } from "../fakes/harness.ts";
import { type GivenUp, type Life, type Mail, outcomeOf, type Sighting } from "./life.ts";
import { SERVER_IDS } from "./servers.ts";

/** Failures of requests that never reach a server. */
const REFUSALS: ReadonlySet<string> = new Set<ErrorCode>([
  "duplicateId",
  "alreadyInitialized",
  "backendBusy",
  "inboxFull",
  "sessionNotFound",
]);

/** See the module's documentation. */
export class Watch {
  readonly #supervisor: Supervisor;
  readonly #backends: readonly FakeBackend[];
  /** Every mark of a server's message that was seen by a client. */
  readonly seen = new Set<string>();
  /** The marks of all that was said, and whose they are. */
  readonly said = new Map<string, Life>();
  /** What turned up since the last look. */
  sightings: Sighting[] = [];
  givenUp: GivenUp[] = [];

  constructor(supervisor: Supervisor, backends: readonly FakeBackend[]) {
    this.#supervisor = supervisor;
    this.#backends = backends;
  }

  look(lives: readonly Life[]): void {
    this.sightings = [];
    this.givenUp = [];
    for (const life of lives) this.#lookAt(life);
  }

  #lookAt(life: Life): void {
    this.#meet(life);
    this.#readBackend(life);
    this.#readOutlets(life);
    for (const mail of life.mail) this.#checkMail(mail);
    if (life.session !== undefined) this.#checkSession(life, life.session);
  }

  /** Learns which session and which backend came of an opening. */
  #meet(life: Life): void {
    const opener = life.mail[0]!;
    if (life.session !== undefined) return;
    for (const session of this.#supervisor.sessions) {
      if (session.id !== opener.reply.sessionId) continue;
      life.session = session;
      assert(this.#supervisor.find(SERVER_IDS[life.server]!, session.id, PRINCIPAL) === session);
      life.backend = this.#backends.find(({ owner }) => owner.session === session.handle);
    }
  }

  #readBackend(life: Life): void {
    const { backend } = life;
    if (backend === undefined) return;
    for (; life.received < backend.received.length; life.received++) {
      const received = backend.received[life.received]!;
      const tag = markOf(received);
      if (tag !== undefined) {
        assert(tag.startsWith(`s${life.no}m`), `${tag} reached the server of session ${life.no}`);
        const times = (life.reached.get(tag) ?? 0) + 1;
        assertEquals(times, 1, `${tag} reached its server more than once`);
        life.reached.set(tag, times);
      } else if (received.kind === "response" && received.error !== undefined) {
        this.givenUp.push({ life, id: received.id! });
      }
    }
  }

  #readOutlets(life: Life): void {
    for (const outlet of life.outlets) {
      for (; outlet.seen < outlet.stream.sent.length; outlet.seen++) {
        const message = JSON.parse(outlet.stream.sent[outlet.seen]!);
        if (message.method === "ping") {
          assert(outlet.mail.stream !== undefined, "a ping went out on the reply to a request");
          life.pings.push(message.id);
          continue;
        }
        const { tag, no } = message.params;
        assert(this.said.get(tag) === life, `${tag} turned up on a stream of session ${life.no}`);
        assert(!this.seen.has(tag), `${tag} was sent twice`);
        assert(no > outlet.lastNo, `${tag} came after a later message`);
        if (message.method === "notifications/progress" && outlet.mail.stream === undefined) {
          assertEquals(message.params.progressToken, outlet.mail.id, `${tag} is progress of another request`);
        }
        outlet.lastNo = no;
        this.seen.add(tag);
        this.sightings.push({ life, stream: outlet.stream, message });
      }
    }
  }

  #checkMail({ reply, tag, life, what }: Mail): void {
    assert(reply.completions <= 1, `${tag} was completed ${reply.completions} times`);
    const reached = life.reached.get(tag) ?? 0;
    const outcome = outcomeOf(reply);
    if (REFUSALS.has(outcome)) {
      assertEquals(reached, 0, `${tag} was refused (${outcome}) and reached its server`);
    }
    if (what === "pong") assertEquals(reached, 0, `${tag} answers the gateway and reached the server`);
    if (what !== "request") return;
    if (outcome === "requestCancelled" || outcome === "requestTimeout" || outcome.startsWith("answered")) {
      assertEquals(reached, 1, `${tag} is over (${outcome}) and never reached its server`);
    }
    if (outcome === "pending") {
      const state = life.session?.state;
      assert(
        state === "active" || state === "starting",
        `${tag} waits for an answer of a session that is ${state}`,
      );
      if (state === "active") assertEquals(reached, 1, `${tag} is pending and never reached its server`);
    }
  }

  #checkSession(life: Life, session: Session): void {
    const { state, endReason } = session;
    assert(life.reason === undefined || endReason === life.reason, `the reason changed to ${endReason}`);
    life.reason = endReason;
    assertEquals(state === "ended", endReason !== undefined, "exactly the ended sessions have a reason");
    const serverId = SERVER_IDS[life.server]!;
    const isListed = this.#supervisor.find(serverId, session.id, PRINCIPAL) === session;
    const closed = life.backend?.closed === true;
    if (state === "ended") {
      assert(life.backend!.closes.length > 0, "a session ended without closing its backend");
      assertEquals(isListed, !closed, "a session is listed exactly as long as its backend closes");
    } else assert(isListed, `a session that is ${state} is not to be found`);
    if (state !== "ended" && state !== "expired") return;
    assertEquals(session.held, 0, `a session that is ${state} holds something`);
    assertEquals(session.inFlight, 0, `a session that is ${state} has something in flight`);
    this.checkClosed(life, state);
  }

  /** A stream that was refused was never the session's, so it is for others to close. */
  checkClosed(life: Life, state: string): void {
    for (const { mail, stream } of life.outlets) {
      const isTheirs = mail.stream === undefined || outcomeOf(mail.reply) === "accepted";
      assert(!isTheirs || !stream.open, `a session that is ${state} has an open stream`);
    }
  }
}

/** The mark of a message of a client. */
function markOf(message: Message): string | undefined {
  const tag = message.kind === "response" ? message.result?.tag : message.params?.tag;
  return typeof tag === "string" ? tag : undefined;
}
