/**
 * What must come of each command, from the words of the design alone: a session expires when nothing is in
 * flight and its TTL has passed since it was used; until then it serves, from then on it is not found.
 *
 * The oracle reckons with plain sums over what was sent and seen, in whole instants: the caller stops at
 * every instant at which a timer is due. It looks at the session only to compare. Where timers are late it expects
 * deadlines to hold all the same; what else is due then may happen at once or wait for its timer, so commands
 * whose outcome hangs on that are left out (see {@link Oracle.isMoot}).
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import type { Belief } from "./belief.ts";
import type { Command } from "./commands.ts";
import { outcomeOf } from "./life.ts";
import { Reactions } from "./reactions.ts";
import { READ_EVERY_MS, SERVER_IDS, SWEEP_INTERVAL_MS } from "./servers.ts";
import type { World } from "./world.ts";

/** See the module's documentation. */
export class Oracle {
  readonly #world: World;
  readonly #reactions: Reactions;
  /** When the pressure was last read. */
  #readAt: number;
  /** When the beliefs were last brought up to date. */
  #at: number;
  /** Sweeps wait for closes, so a stubborn backend delays them. */
  #anyStubborn = false;

  constructor(world: World) {
    this.#world = world;
    this.#reactions = new Reactions(world);
    this.#at = this.#readAt = world.now;
  }

  /** Whether what comes of a command hangs on how late a timer is. */
  isMoot(command: Command): boolean {
    return this.#reactions.isMoot(command);
  }

  /** Carries out a command and notes what has to come of it. Time passes in the caller's hands. */
  perform(command: Command): void {
    this.#reactions.perform(command);
  }

  get #beliefs(): Reactions["beliefs"] {
    return this.#reactions.beliefs;
  }

  /** Compares, after everything settled. */
  check(): void {
    const { now } = this.#world;
    for (const { life, id } of this.#world.watch.givenUp) this.#giveUp(this.#beliefs.get(life)!, id, now);
    for (const { life, stream, message } of this.#world.watch.sightings) {
      const question = message.id === undefined
        ? undefined
        : this.#beliefs.get(life)!.questions.get(message.id as string);
      if (question === undefined) continue;
      question.since = now;
      question.stream = stream;
      question.counts = !this.#beliefs.get(life)!.silent;
      this.#beliefs.get(life)!.countInFlight();
    }
    for (const belief of this.#beliefs.values()) this.#noteTimeouts(belief, now);
    this.#noteNotes(now);
    this.#checkDrain(now);
    for (const belief of this.#beliefs.values()) this.#checkOne(belief, now);
    for (const [mail, expected] of this.#reactions.expected) {
      assertEquals(outcomeOf(mail.reply), expected, `${mail.tag} (${mail.what})`);
      this.#reactions.expected.delete(mail);
    }
  }

  /** Time has passed: to be called at each instant at which a timer was due, before {@link check}. */
  pass(): void {
    const { now } = this.#world;
    for (const belief of this.#beliefs.values()) {
      const isWaiting = belief.questions.values().some(({ stream, counts }) =>
        stream !== undefined && counts
      );
      if (isWaiting) { for (const asked of belief.asked.values()) asked.pausedMs += now - this.#at; }
    }
    this.#at = now;
    for (const belief of this.#beliefs.values()) {
      // One whose client would have been asked was shut down first, and the shutdown closed its stream.
      const isShut = belief.life.session?.endReason === "shutdown" && belief.standalone !== undefined;
      if (this.#reactions.isDead(belief) && !isShut) this.#reactions.expire(belief, now);
    }
  }

  /** Pings that were sent, and readings with what has to come of each. */
  #noteNotes(now: number): void {
    const lost = this.#beliefs.values().some(({ life }) => life.session?.endReason === "shutdown");
    for (const note of this.#world.notes.splice(0)) {
      if (note.kind === "reading") {
        this.#readAt = now;
        this.#reactions.scarcity.read(note.memory, {
          beliefs: [...this.#beliefs.values()],
          now,
          isVague: lost,
        });
        continue;
      }
      const belief = this.#beliefs.get(note.life)!;
      if (belief.duePings > 0) belief.duePings--;
      else {
        // One that is ended looks at the time, and what it asks then nobody answers.
        const isEnding = belief.life.session!.state === "ended" && belief.isDue(now, this.#reactions.s);
        const isRight = isEnding || belief.isToBeAsked(now, this.#reactions.s);
        assert(isRight, `session ${note.life.no} was pinged without need`);
        belief.ask(now);
      }
    }
    const isLate = this.#world.late || this.#anyStubborn;
    assert(isLate || now <= this.#readAt + READ_EVERY_MS, "the pressure was not read");
  }

  /** The server was told that nobody answers. */
  #giveUp(belief: Belief, id: string | number, now: number): void {
    // What was due when it expired may be answered for at last.
    belief.shelved.delete(id);
    if (belief.phase === "expired" || belief.phase === "ended") return;
    const question = belief.questions.get(id);
    assert(question !== undefined, `${id} of session ${belief.life.no} was given up and is not open`);
    assert(
      now >= question.since + belief.limits.clientReplyTimeoutMs,
      `${id} of session ${belief.life.no} was given up early`,
    );
    const mayTakeLong = question.stream?.open === true &&
      belief.asked.values().some(({ mail }) => mail.reply.completion === undefined);
    assert(
      !mayTakeLong || now >= question.since + belief.limits.requestTimeoutMs,
      `${id} was given up during a request`,
    );
    belief.questions.delete(id);
    belief.doneAt = now;
    if (question.stream !== undefined) belief.silent = true;
  }

  /** A drain ends all sessions once nothing is in flight, or its time is up, or it is hurried. */
  #checkDrain(now: number): void {
    const { drain } = this.#reactions;
    if (drain === undefined) return;
    let inFlight = 0;
    for (const belief of this.#beliefs.values()) {
      inFlight += belief.inFlight(now) + (belief.phase === "starting" ? belief.held.length : 0);
    }
    const mustEnd = drain.isHurried || (now >= drain.until && !this.#world.late);
    const mayEnd = mustEnd || inFlight === 0 || now >= drain.until;
    for (const belief of this.#beliefs.values()) {
      const endReason = belief.life.session?.endReason;
      // A request that was answered for at this instant was the last that kept it.
      if (endReason !== "shutdown" && this.#reactions.isDead(belief)) this.#reactions.expire(belief, now);
      // Swept before, at the same instant.
      const isSwept = belief.phase === "expired" && endReason === belief.reason;
      if (belief.phase === "ended" || isSwept) continue;
      const isShut = endReason === "shutdown";
      if (isShut) assert(mayEnd, `session ${belief.life.no} was shut down while requests were in flight`);
      if (isShut || mustEnd) this.#reactions.end(belief, "shutdown");
    }
  }

  /** What took too long is answered for: not before its time; that it is not after, `#checkOne` sees. */
  #noteTimeouts(belief: Belief, now: number): void {
    const { life } = belief;
    if (belief.phase === "starting" && life.session!.endReason === "backend_start_failed") {
      assert(
        now >= belief.openedAt + belief.limits.startTimeoutMs,
        `the start of session ${life.no} timed out early`,
      );
      this.#reactions.end(belief, "backend_start_failed");
    }
    for (const [id, asked] of belief.asked) {
      if (outcomeOf(asked.mail.reply) !== "requestTimeout") continue;
      const earlyMs = belief.dueAt(asked) - now;
      assert(earlyMs <= 0, `request ${id} of session ${life.no} timed out ${earlyMs} ms early`);
      belief.asked.delete(id);
      belief.lastUsed = belief.doneAt = now;
    }
  }

  #checkOne(belief: Belief, now: number): void {
    const { life } = belief;
    const { late } = this.#world;
    const name = `session ${life.no}`;
    if (life.backend?.stubborn) this.#anyStubborn = true;
    const isStartOverdue = belief.phase === "starting" &&
      now >= belief.openedAt + belief.limits.startTimeoutMs;
    assert(!isStartOverdue || late, `the start of ${name} has not timed out`);
    for (const [id, asked] of belief.asked) {
      assert(late || now < belief.dueAt(asked), `request ${id} of ${name} has not timed out`);
      assertEquals(outcomeOf(asked.mail.reply), "pending", `request ${id} of ${name}`);
      assertEquals(life.reached.get(asked.mail.tag), 1, `request ${id} of ${name} did not reach its server`);
    }
    for (const [id, { since }] of belief.questions) {
      const isOverdue = now >= since + belief.limits.clientReplyTimeoutMs;
      assert(!isOverdue || late || belief.asked.size > 0, `${id} of ${name} has not been given up`);
    }
    if (this.#reactions.isDead(belief)) this.#reactions.expire(belief, now);
    assertEquals(belief.duePings, 0, `${name} has not been asked`);
    const mayWait = late || !this.#mustHaveLooked(belief, now);
    assert(
      mayWait || !belief.isToBeAsked(now, this.#reactions.s),
      `${name} has not been asked at its deadline`,
    );
    const tag = this.#reactions.due.find((tag) => !this.#world.watch.seen.has(tag));
    assertEquals(tag, undefined, "not sent although a stream was open");
    this.#reactions.due.length = 0;
    this.#compare(belief, now, name);
  }

  /** Whether its own timer, or a sweep for shorter TTLs, made a session look at the time by now. */
  #mustHaveLooked(belief: Belief, now: number): boolean {
    return this.#reactions.scarcity.shortenedAt === now || now >= belief.deadline(0);
  }

  #compare(belief: Belief, now: number, name: string): void {
    const session = belief.life.session!;
    const { late } = this.#world;
    if (belief.phase !== "expired") {
      assertEquals(session.state, belief.phase, name);
      assertEquals(session.endReason, belief.reason, name);
      if (belief.phase === "active" && !late) {
        assertEquals(session.deadline, belief.deadline(this.#reactions.s), `the deadline of ${name}`);
      }
      return;
    }
    if (session.state === "ended") {
      assertEquals(session.endReason, belief.reason, name);
      belief.phase = "ended";
      return;
    }
    belief.isSeen = session.state === "expired";
    if (late) return;
    const mayWait = belief.reason !== "evicted" && session.state === "active" &&
      !this.#mustHaveLooked(belief, now);
    if (!mayWait) {
      assertEquals(session.state, "expired", name);
      assertEquals(session.verdict?.reason, belief.reason, name);
      assert(belief.reason !== "implicit", `${name} has nobody to wait for, and waits for the sweeper`);
    }
    const isSwept = now < belief.expiredAt + SWEEP_INTERVAL_MS || this.#anyStubborn;
    assert(isSwept, `${name} expired ${now - belief.expiredAt} ms ago and was not swept`);
  }

  /** All sessions are over: what is told of them has to be what happened. */
  finish(): void {
    const { supervisor } = this.#world.harness;
    for (const [server, serverId] of SERVER_IDS.entries()) {
      const beliefs = this.#beliefs.values().filter(({ life }) => life.server === server).toArray();
      const final = beliefs.filter(({ idleMsAtEnd, missed }) => idleMsAtEnd > 0 && !missed).length;
      const returned = beliefs.reduce((sum, { returns, missed }) => sum + returns + (missed ? 1 : 0), 0);
      assertEquals(supervisor.gapsOf(serverId)!.counts, { returned, final }, `idle gaps of ${serverId}`);
    }
    for (const { life, counters, reason } of this.#beliefs.values()) {
      const tombstone = supervisor.tombstones.get(life.session!.handle)!;
      assertEquals(tombstone.verdict.reason, reason, `session ${life.no}`);
      assertEquals({ ...tombstone.counters }, { ...counters }, `what went through session ${life.no}`);
    }
  }
}
