/**
 * What comes of each command at once, written down for {@link Oracle} to look for: what every reply has to say, what
 * has to be seen on a stream, and what is believed of each session from then on.
 *
 * @module
 */
import type { EndReason } from "../../actors/supervisor.ts";
import { assertEquals } from "@std/assert";
import type { FakeStream } from "../fakes/fake_client.ts";
import { Belief } from "./belief.ts";
import type { Command, SessionCommand } from "./commands.ts";
import type { Life, Mail } from "./life.ts";
import { Scarcity } from "./scarcity.ts";
import { endOfLifeOf, LIMITS, SERVER_IDS } from "./servers.ts";
import type { World } from "./world.ts";

/** What requests in flight are told at an end. */
const TOLD: Partial<Record<EndReason, string>> = {
  backend_exit: "backendGone",
  protocol_error: "backendGone",
  backend_start_failed: "backendStartFailed",
  shutdown: "shuttingDown",
  client_delete: "sessionEnded",
};

/** Failures of a server from which on it may be in quarantine: that has tests of its own. */
const MANY_FAILURES = 6;
/** Commands in which the server says something. */
const SAYS: ReadonlySet<Command["do"]> = new Set([
  "serverStarts",
  "serverRefuses",
  "serverTells",
  "serverAnswers",
  "serverAnswersTwice",
  "serverAsks",
  "serverTakesBack",
  "serverReportsProgress",
]);
/** Commands at which a session looks at the time, beside those that send it something. */
const LOOKS: ReadonlySet<Command["do"]> = new Set([
  ...SAYS,
  "extend",
  "delete",
  "serverExits",
  "serverBreaksProtocol",
]);
/** Commands that send a session something from its client. */
const MAIL: ReadonlySet<Command["do"]> = new Set([
  "initializeAgain",
  "notify",
  "openStream",
  "request",
  "respond",
  "cancel",
  "answerPing",
]);

/** See the module's documentation. */
export class Reactions {
  readonly #world: World;
  readonly beliefs = new Map<Life, Belief>();
  readonly scarcity = new Scarcity();
  /** How often each server failed. */
  readonly #failures = SERVER_IDS.map(() => 0);
  /** What each reply that is expected to be complete has to say. */
  readonly expected = new Map<Mail, string>();
  /** Marks of which a stream was open when they were said: they have to be seen at the next look. */
  readonly due: string[] = [];
  /** Until when a drain may wait, once there is one, and whether it was told not to. */
  drain: { readonly until: number; isHurried: boolean } | undefined;

  constructor(world: World) {
    this.#world = world;
  }

  /** Whether what comes of a command hangs on how late a timer is. */
  isMoot(command: Command): boolean {
    if (command.do === "open") return this.#failures[command.server]! >= MANY_FAILURES;
    if (!this.#world.late) return false;
    if (command.do === "shutDown") return true;
    if (!("who" in command)) return false;
    const life = this.#world.life(command.who);
    const belief = life && this.beliefs.get(life);
    return belief !== undefined && belief.phase !== "ended" && belief.isOverdue(this.#world.now) &&
      !this.isDead(belief);
  }

  /** Carries out a command and notes what has to come of it. Time passes in the caller's hands. */
  perform(command: Command): void {
    const { now } = this.#world;
    switch (command.do) {
      case "open":
        return this.#open(this.#world.open(command), command, now);
      case "press":
        return this.#world.press(command);
      case "stall":
        this.#world.stall(command.ms);
        return;
      case "shutDown":
        this.#world.shutDown(command);
        this.drain ??= { until: now + command.drainMs, isHurried: false };
        if (command.hurry) this.drain.isHurried = true;
        for (const belief of this.beliefs.values()) belief.draining = true;
        return;
      case "advance":
        return;
    }
    const life = this.#world.life(command.who);
    const belief = life && this.beliefs.get(life);
    if (belief === undefined) return;
    const isGone = belief.life.backend?.gone !== false;
    const isHeard = SAYS.has(command.do) && !isGone;
    if (LOOKS.has(command.do) ? isHeard || !SAYS.has(command.do) : MAIL.has(command.do)) {
      this.#look(belief, now);
    }
    if (command.do === "extend") {
      const isOver = belief.phase === "expired" || belief.phase === "ended";
      assertEquals(this.#world.extend(belief.life, command.ms), !isOver, "whether it was extended");
      if (!isOver) belief.keptUntil = Math.max(belief.keptUntil, now + command.ms);
      return;
    }
    const mail = this.#world.send(belief.life, command);
    if (mail === undefined) return this.#act(belief, command, now);
    const isRequest = mail.what === "request" || mail.what === "initializeAgain";
    if (belief.phase === "active" || belief.phase === "starting") {
      belief.cameBack = true;
      if (belief.draining && isRequest) return void this.expected.set(mail, "shuttingDown");
    } else if (isRequest && belief.idleMsAtEnd > 0) belief.missed = true;
    if (belief.phase === "starting" && belief.life.implicit) belief.held.push(mail);
    else this.#take(belief, mail, now);
  }

  get s(): number {
    return this.scarcity.s;
  }

  isDead(belief: Belief): boolean {
    return belief.isDead(this.#world.now, this.s);
  }

  expire(belief: Belief, now: number): void {
    belief.expire(now, this.s);
  }

  /** A session looks at the time: where its deadline has come and it may ask first, it asks. */
  #look(belief: Belief, now: number): void {
    if (!belief.isToBeAsked(now, this.s)) return;
    belief.ask(now);
    belief.duePings++;
  }

  #open(mail: Mail, { server, slow, chance }: Extract<Command, { do: "open" }>, now: number): void {
    if (this.drain !== undefined) return void this.expected.set(mail, "shuttingDown");
    const limits = LIMITS[server]!;
    const belief = new Belief(mail.life, limits, { now, endOfLife: endOfLifeOf(limits, now, chance) });
    this.beliefs.set(mail.life, belief);
    if (mail.life.implicit) belief.held.push(mail);
    else {
      belief.counters.requests++;
      this.#inFlight(belief, mail, Infinity);
    }
    if (slow) return;
    belief.counters.serverMessages++;
    this.#started(belief, now);
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
    const { now } = this.#world;
    belief.asked.set(mail.id, { mail, sentAt: now, freshAt: now, timeoutMs, pausedMs: 0 });
    belief.countInFlight();
  }

  #answered(belief: Belief, id: string | number, tag: string, now: number): void {
    const asked = belief.asked.get(id);
    if (asked === undefined) return;
    belief.asked.delete(id);
    belief.lastUsed = now;
    this.expected.set(asked.mail, `answered ${tag}`);
  }

  /** What a session does with mail. */
  #take(belief: Belief, mail: Mail, now: number): void {
    const refuse = (why: string) => void this.expected.set(mail, why);
    if (belief.phase === "expired" || belief.phase === "ended") return refuse("sessionNotFound");
    const isRequest = mail.what === "request" || mail.what === "open" || mail.what === "initializeAgain";
    const isTooOld = belief.phase === "active" && now >= belief.endOfLife;
    if (mail.stream !== undefined) {
      return isTooOld ? refuse("sessionNotFound") : this.#takeStream(belief, mail, now);
    }
    belief.silent = false;
    if (mail.what === "pong") {
      this.expected.set(mail, "accepted");
      if (belief.ping === undefined || mail.id !== belief.life.pings[belief.pingsSent - 1]) return;
      belief.ping = undefined;
      belief.aliveAt = now;
      return;
    }
    const { counters } = belief;
    counters[isRequest ? "requests" : mail.what === "response" ? "responses" : "notifications"]++;
    if (mail.what === "request" || mail.what === "open") {
      if (belief.inUse === 0) belief.returns++;
      belief.used = true;
    }
    belief.lastUsed = now;
    if (isRequest && isTooOld) return refuse("sessionNotFound");
    if (belief.life.backend !== undefined && belief.life.backend.queuedBytes > 0) {
      return refuse("backendBusy");
    }
    if (isRequest) {
      if (mail.what === "initializeAgain") return refuse("alreadyInitialized");
      if (belief.asked.has(mail.id)) return refuse("duplicateId");
      return this.#inFlight(belief, mail, belief.limits.requestTimeoutMs);
    }
    this.expected.set(mail, "accepted");
    if (mail.what === "response") belief.questions.delete(mail.id);
    const cancelled = mail.what === "cancel" ? belief.asked.get(mail.id) : undefined;
    if (cancelled === undefined) return;
    belief.asked.delete(mail.id);
    this.expected.set(cancelled.mail, "requestCancelled");
  }

  /** What waited for a stream goes out on it. */
  #takeStream(belief: Belief, mail: Mail, now: number): void {
    this.expected.set(mail, "accepted");
    belief.silent = false;
    if (!mail.stream!.open) return;
    belief.standalone = mail.stream;
    for (const question of belief.questions.values()) {
      if (question.stream !== undefined) continue;
      question.stream = mail.stream;
      question.since = now;
      question.counts = true;
    }
    belief.countInFlight();
  }

  /** What comes of all that is no mail. */
  #act(belief: Belief, command: SessionCommand, now: number): void {
    const { life } = belief;
    const wasGone = life.backend?.gone !== false;
    const { stream: open } = this.#openStreamOf(belief);
    const tag = this.#world.act(life, command);
    if (belief.phase === "ended") return;
    if (SAYS.has(command.do) && !wasGone && belief.phase !== "expired") belief.counters.serverMessages++;
    switch (command.do) {
      case "delete":
        return this.end(belief, "client_delete");
      case "serverExits":
      case "serverBreaksProtocol": {
        if (wasGone) return;
        if (belief.phase === "starting") return this.end(belief, "backend_start_failed");
        if (belief.phase === "expired") return this.end(belief, belief.reason!);
        return this.end(belief, command.do === "serverExits" ? "backend_exit" : "protocol_error");
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
        return this.end(belief, "backend_start_failed");
      case "serverAnswers":
      case "serverAnswersTwice":
        this.#answered(belief, command.id, tag!, now);
        // The second is heard unless the session was only there for the first.
        if (command.do === "serverAnswersTwice" && !this.isDead(belief) && !wasGone) {
          belief.counters.serverMessages++;
        }
        return;
      case "serverTakesBack":
        belief.questions.delete(`q${command.id}`);
        return;
      case "serverAsks": {
        const id = `q${command.id}`;
        if (belief.questions.has(id)) return;
        belief.questions.set(id, { since: now, stream: undefined, counts: false });
        return this.#mustBeSeen(tag, open);
      }
      case "serverReportsProgress": {
        const asked = tag === undefined ? undefined : belief.asked.get(command.id);
        if (asked === undefined) return;
        asked.freshAt = now;
        asked.pausedMs = 0;
        return;
      }
      case "serverTells":
        return this.#mustBeSeen(tag, open);
    }
  }

  #mustBeSeen(tag: string | undefined, stream: FakeStream | undefined): void {
    if (tag !== undefined && stream !== undefined) this.due.push(tag);
  }

  #openStreamOf(belief: Belief): { stream: FakeStream | undefined } {
    for (const { mail } of belief.asked.values()) if (mail.reply.open) return { stream: mail.reply };
    return { stream: belief.standalone?.open ? belief.standalone : undefined };
  }

  end(belief: Belief, reason: EndReason): void {
    const { now } = this.#world;
    // The first reason stays.
    if (belief.phase !== "expired") {
      belief.reason = reason;
      belief.idleMsAtEnd = belief.inUse + belief.held.length > 0 ? 0 : now - belief.lastUsed;
    }
    const isFailure = reason.startsWith("backend") || reason === "protocol_error";
    if (isFailure) this.#failures[belief.life.server]!++;
    belief.phase = "ended";
    const told = TOLD[reason] ?? "never";
    for (const { mail } of belief.asked.values()) this.expected.set(mail, told);
    for (const mail of belief.held) this.expected.set(mail, told);
    belief.asked.clear();
    belief.questions.clear();
    belief.held = [];
  }
}
