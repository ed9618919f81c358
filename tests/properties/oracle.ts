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
import type { EndReason } from "../../actors/end_reason.ts";
import { assert, assertEquals } from "@std/assert";
import type { FakeStream } from "../fakes/fake_client.ts";
import { type Command, type SessionCommand, SMALL } from "./commands.ts";
import { type Life, type Mail, outcomeOf, SWEEP_INTERVAL_MS, type World } from "./world.ts";

/** A request of the client in flight. */
interface Asked {
  readonly mail: Mail;
  readonly sentAt: number;
  readonly timeoutMs: number;
  /** How long the server waited for the client meanwhile: that time is not its own. */
  pausedMs: number;
}

/** A request of the server that is not answered. */
interface Question {
  /** When it was asked, then when it was seen by the client. */
  since: number;
  stream: FakeStream | undefined;
  /** Whether it may keep the session: not where the client left an earlier one unanswered. */
  counts: boolean;
}

/** What is believed of one session. */
class Belief {
  phase: "starting" | "active" | "expired" | "ended" = "starting";
  /** The reason with which it ended, or will when it is swept. */
  reason: EndReason | undefined;
  cameBack: boolean;
  expiredAt = Infinity;
  silent = false;
  draining = false;
  readonly asked = new Map<string | number, Asked>();
  readonly questions = new Map<string | number, Question>();
  /** What waits for the start of an implicit session. */
  held: Mail[] = [];
  standalone: FakeStream | undefined;

  constructor(readonly life: Life, readonly openedAt: number, public lastUsed: number) {
    this.cameBack = !life.implicit;
  }

  get ttlMs(): number {
    return this.cameBack ? SMALL.idleTtlMs : Math.min(SMALL.idleTtlMs, SMALL.implicitTtlMs);
  }

  age(asked: Asked, now: number): number {
    return now - asked.sentAt - Math.min(asked.pausedMs, asked.timeoutMs);
  }

  /** The design's definition of "in flight". */
  inFlight(now: number): number {
    let counting = 0;
    for (const question of this.questions.values()) {
      if (question.counts && now < question.since + SMALL.clientReplyTimeoutMs) counting++;
    }
    return this.asked.size + counting;
  }

  isOverdue(now: number): boolean {
    if (this.phase === "starting" && now >= this.openedAt + SMALL.startTimeoutMs) return true;
    for (const asked of this.asked.values()) if (this.age(asked, now) >= asked.timeoutMs) return true;
    for (const { since } of this.questions.values()) {
      if (now >= since + SMALL.clientReplyTimeoutMs) return true;
    }
    return false;
  }
}

/** What requests in flight are told at an end. */
const TOLD: Partial<Record<EndReason, string>> = {
  backend_exit: "backendGone",
  protocol_error: "backendGone",
  backend_start_failed: "backendStartFailed",
  shutdown: "shuttingDown",
  client_delete: "sessionEnded",
};

/** See the module's documentation. */
export class Oracle {
  readonly #world: World;
  readonly #beliefs = new Map<Life, Belief>();
  /** What each reply that is expected to be complete has to say. */
  readonly #expected = new Map<Mail, string>();
  /** Until when a drain may wait, once there is one. */
  #drainUntil: number | undefined;
  #hurried = false;
  /** When the beliefs were last brought up to date. */
  #at: number;
  /** Sweeps wait for closes, so a stubborn backend delays them. */
  #anyStubborn = false;

  constructor(world: World) {
    this.#world = world;
    this.#at = world.now;
  }

  /** Whether what comes of a command hangs on how late a timer is. */
  isMoot(command: Command): boolean {
    if (!this.#world.late) return false;
    if (command.do === "shutDown") return true;
    if (!("who" in command)) return false;
    const life = this.#world.life(command.who);
    const belief = life && this.#beliefs.get(life);
    return belief !== undefined && belief.phase !== "ended" && belief.isOverdue(this.#world.now) &&
      !this.#isDead(belief);
  }

  /** Carries out a command and notes what has to come of it. Time passes in the caller's hands. */
  perform(command: Command): void {
    const { now } = this.#world;
    switch (command.do) {
      case "open":
        return this.#open(this.#world.open(command), command.slow, now);
      case "stall":
        this.#world.stall(command.ms);
        return;
      case "shutDown":
        this.#world.shutDown(command);
        this.#drainUntil ??= now + command.drainMs;
        this.#hurried ||= command.hurry;
        for (const belief of this.#beliefs.values()) belief.draining = true;
        return;
      case "advance":
        return;
    }
    const life = this.#world.life(command.who);
    const belief = life && this.#beliefs.get(life);
    if (belief === undefined) return;
    const mail = this.#world.send(belief.life, command);
    if (mail === undefined) return this.#act(belief, command, now);
    if (belief.phase === "active" || belief.phase === "starting") {
      belief.cameBack = true;
      const isRequest = mail.what === "request" || mail.what === "initializeAgain";
      if (belief.draining && isRequest) return void this.#expected.set(mail, "shuttingDown");
    }
    if (belief.phase === "starting" && belief.life.implicit) belief.held.push(mail);
    else this.#take(belief, mail, now);
  }

  /** Compares, after everything settled. */
  check(): void {
    const { now } = this.#world;
    for (const { life, id } of this.#world.givenUp) this.#giveUp(this.#beliefs.get(life)!, id, now);
    for (const { life, stream, message } of this.#world.sightings) {
      const question = message.id === undefined
        ? undefined
        : this.#beliefs.get(life)!.questions.get(message.id as string);
      if (question === undefined) continue;
      question.since = now;
      question.stream = stream;
      question.counts = !this.#beliefs.get(life)!.silent;
    }
    for (const belief of this.#beliefs.values()) this.#noteTimeouts(belief, now);
    this.#checkDrain(now);
    for (const belief of this.#beliefs.values()) this.#checkOne(belief, now);
    for (const [mail, expected] of this.#expected) {
      assertEquals(outcomeOf(mail.reply), expected, `${mail.tag} (${mail.what})`);
      this.#expected.delete(mail);
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
    for (const belief of this.#beliefs.values()) if (this.#isDead(belief)) this.#expire(belief, now);
  }

  #isDead(belief: Belief): boolean {
    const { now } = this.#world;
    return belief.phase === "active" && belief.inFlight(now) === 0 && now >= belief.lastUsed + belief.ttlMs;
  }

  #expire(belief: Belief, now: number): void {
    belief.phase = "expired";
    belief.expiredAt = now;
    belief.reason = belief.cameBack ? "idle" : "implicit";
    belief.questions.clear();
  }

  #open(mail: Mail, slow: boolean, now: number): void {
    if (this.#drainUntil !== undefined) return void this.#expected.set(mail, "shuttingDown");
    const belief = new Belief(mail.life, now, now);
    this.#beliefs.set(mail.life, belief);
    if (mail.life.implicit) belief.held.push(mail);
    else this.#inFlight(belief, mail, Infinity);
    if (!slow) this.#started(belief, now);
  }

  #started(belief: Belief, now: number): void {
    belief.phase = "active";
    belief.lastUsed = now;
    if (!belief.life.implicit) return this.#answered(belief, belief.life.mail[0]!.id, "initialize", now);
    const { held } = belief;
    belief.held = [];
    for (const mail of held) this.#take(belief, mail, now);
  }

  #inFlight(belief: Belief, mail: Mail, timeoutMs: number): void {
    belief.asked.set(mail.id, { mail, sentAt: this.#world.now, timeoutMs, pausedMs: 0 });
  }

  #answered(belief: Belief, id: string | number, tag: string, now: number): void {
    const asked = belief.asked.get(id);
    if (asked === undefined) return;
    belief.asked.delete(id);
    belief.lastUsed = now;
    this.#expected.set(asked.mail, `answered ${tag}`);
  }

  /** What a session does with mail. */
  #take(belief: Belief, mail: Mail, now: number): void {
    const refuse = (why: string) => void this.#expected.set(mail, why);
    if (belief.phase === "expired" || belief.phase === "ended") return refuse("sessionNotFound");
    if (mail.stream !== undefined) {
      belief.silent = false;
      if (mail.stream.open) belief.standalone = mail.stream;
      return refuse("accepted");
    }
    belief.silent = false;
    belief.lastUsed = now;
    if (belief.life.backend !== undefined && belief.life.backend.queuedBytes > 0) {
      return refuse("backendBusy");
    }
    if (mail.what === "request" || mail.what === "open" || mail.what === "initializeAgain") {
      if (mail.what === "initializeAgain") return refuse("alreadyInitialized");
      if (belief.asked.has(mail.id)) return refuse("duplicateId");
      this.#inFlight(belief, mail, SMALL.requestTimeoutMs);
    } else {
      this.#expected.set(mail, "accepted");
      if (mail.what === "response") belief.questions.delete(mail.id);
      const cancelled = mail.what === "cancel" ? belief.asked.get(mail.id) : undefined;
      if (cancelled !== undefined) {
        belief.asked.delete(mail.id);
        this.#expected.set(cancelled.mail, "requestCancelled");
      }
    }
  }

  /** What comes of all that is no mail. */
  #act(belief: Belief, command: SessionCommand, now: number): void {
    const { life } = belief;
    const wasGone = life.backend?.gone !== false;
    const { stream: open } = this.#openStreamOf(belief);
    const tag = this.#world.act(life, command);
    if (belief.phase === "ended") return;
    switch (command.do) {
      case "delete":
        return this.#end(belief, "client_delete");
      case "serverExits":
      case "serverBreaksProtocol": {
        if (wasGone) return;
        if (belief.phase === "starting") return this.#end(belief, "backend_start_failed");
        if (belief.phase === "expired") return this.#end(belief, belief.reason!);
        return this.#end(belief, command.do === "serverExits" ? "backend_exit" : "protocol_error");
      }
    }
    if (belief.phase === "expired") return;
    switch (command.do) {
      case "serverStarts":
        if (belief.phase === "starting") this.#started(belief, now);
        return;
      case "serverRefuses":
        if (belief.phase !== "starting") return;
        if (!life.implicit) this.#answered(belief, life.mail[0]!.id, "refused", now);
        return this.#end(belief, "backend_start_failed");
      case "serverAnswers":
      case "serverAnswersTwice":
        return this.#answered(belief, command.id, tag!, now);
      case "serverTakesBack":
        belief.questions.delete(`q${command.id}`);
        return;
      case "serverAsks": {
        const id = `q${command.id}`;
        if (belief.questions.has(id)) return;
        belief.questions.set(id, { since: now, stream: undefined, counts: false });
        return this.#mustBeSeen(tag, open);
      }
      case "serverTells":
        return this.#mustBeSeen(tag, open);
    }
  }

  /** Marks of which a stream was open when they were said: they have to be seen at the next look. */
  readonly #due: string[] = [];

  #mustBeSeen(tag: string | undefined, stream: FakeStream | undefined): void {
    if (tag !== undefined && stream !== undefined) this.#due.push(tag);
  }

  #openStreamOf(belief: Belief): { stream: FakeStream | undefined } {
    for (const { mail } of belief.asked.values()) if (mail.reply.open) return { stream: mail.reply };
    return { stream: belief.standalone?.open ? belief.standalone : undefined };
  }

  #end(belief: Belief, reason: EndReason): void {
    belief.phase = "ended";
    belief.reason = reason;
    const told = TOLD[reason] ?? "never";
    for (const { mail } of belief.asked.values()) this.#expected.set(mail, told);
    for (const mail of belief.held) this.#expected.set(mail, told);
    belief.asked.clear();
    belief.questions.clear();
    belief.held = [];
  }

  /** The server was told that nobody answers. */
  #giveUp(belief: Belief, id: string | number, now: number): void {
    // What was due when it expired may be answered for at last.
    if (belief.phase === "expired" || belief.phase === "ended") return;
    const question = belief.questions.get(id);
    assert(question !== undefined, `${id} of session ${belief.life.no} was given up and is not open`);
    assert(
      now >= question.since + SMALL.clientReplyTimeoutMs,
      `${id} of session ${belief.life.no} was given up early`,
    );
    const mayTakeLong = question.stream?.open === true &&
      belief.asked.values().some(({ mail }) => mail.reply.completion === undefined);
    assert(
      !mayTakeLong || now >= question.since + SMALL.requestTimeoutMs,
      `${id} was given up during a request`,
    );
    belief.questions.delete(id);
    if (question.stream !== undefined) belief.silent = true;
  }

  /** A drain ends all sessions once nothing is in flight, or its time is up, or it is hurried. */
  #checkDrain(now: number): void {
    if (this.#drainUntil === undefined) return;
    let inFlight = 0;
    for (const belief of this.#beliefs.values()) {
      inFlight += belief.inFlight(now) + (belief.phase === "starting" ? belief.held.length : 0);
    }
    const mustEnd = this.#hurried || (now >= this.#drainUntil && !this.#world.late);
    const mayEnd = mustEnd || inFlight === 0 || now >= this.#drainUntil;
    for (const belief of this.#beliefs.values()) {
      const endReason = belief.life.session?.endReason;
      // Swept before, at the same instant.
      const isSwept = belief.phase === "expired" && endReason === belief.reason;
      if (belief.phase === "ended" || isSwept) continue;
      const isShut = endReason === "shutdown";
      if (isShut) assert(mayEnd, `session ${belief.life.no} was shut down while requests were in flight`);
      if (isShut || mustEnd) this.#end(belief, "shutdown");
    }
  }

  /** What took too long is answered for: not before its time; that it is not after, `#checkOne` sees. */
  #noteTimeouts(belief: Belief, now: number): void {
    const { life } = belief;
    if (belief.phase === "starting" && life.session!.endReason === "backend_start_failed") {
      assert(
        now >= belief.openedAt + SMALL.startTimeoutMs,
        `the start of session ${life.no} timed out early`,
      );
      this.#end(belief, "backend_start_failed");
    }
    for (const [id, asked] of belief.asked) {
      if (outcomeOf(asked.mail.reply) !== "requestTimeout") continue;
      const ageMs = belief.age(asked, now);
      assert(ageMs >= asked.timeoutMs, `request ${id} of session ${life.no} timed out after ${ageMs} ms`);
      belief.asked.delete(id);
      belief.lastUsed = now;
    }
  }

  #checkOne(belief: Belief, now: number): void {
    const { life } = belief;
    const { late } = this.#world;
    const name = `session ${life.no}`;
    if (life.backend?.stubborn) this.#anyStubborn = true;
    const isStartOverdue = belief.phase === "starting" && now >= belief.openedAt + SMALL.startTimeoutMs;
    assert(!isStartOverdue || late, `the start of ${name} has not timed out`);
    for (const [id, asked] of belief.asked) {
      assert(late || belief.age(asked, now) < asked.timeoutMs, `request ${id} of ${name} has not timed out`);
      assertEquals(outcomeOf(asked.mail.reply), "pending", `request ${id} of ${name}`);
      assertEquals(life.reached.get(asked.mail.tag), 1, `request ${id} of ${name} did not reach its server`);
    }
    for (const [id, { since }] of belief.questions) {
      const isOverdue = now >= since + SMALL.clientReplyTimeoutMs;
      assert(!isOverdue || late || belief.asked.size > 0, `${id} of ${name} has not been given up`);
    }
    if (this.#isDead(belief)) this.#expire(belief, now);
    const tag = this.#due.find((tag) => !this.#world.seen.has(tag));
    assertEquals(tag, undefined, "not sent although a stream was open");
    this.#due.length = 0;
    this.#compare(belief, now, name);
  }

  #compare(belief: Belief, now: number, name: string): void {
    const session = belief.life.session!;
    if (belief.phase !== "expired") {
      assertEquals(session.state, belief.phase, name);
      assertEquals(session.endReason, belief.reason, name);
      return;
    }
    if (session.state === "ended") {
      assertEquals(session.endReason, belief.reason, name);
      belief.phase = "ended";
      return;
    }
    if (!this.#world.late) {
      assertEquals(session.state, "expired", name);
      assert(belief.reason !== "implicit", `${name} has nobody to wait for, and waits for the sweeper`);
      const isSwept = now < belief.expiredAt + SWEEP_INTERVAL_MS || this.#anyStubborn;
      assert(isSwept, `${name} expired ${now - belief.expiredAt} ms ago and was not swept`);
    }
  }
}
