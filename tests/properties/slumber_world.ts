/**
 * Gateways on fake time that run one after the other over the same store, and carry out commands.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import type { SessionStore } from "../../stores/store.ts";
import { FakeReply, FakeStream } from "../fakes/fake_client.ts";
import { settle } from "../fakes/fake_clock.ts";
import { message, PRINCIPAL } from "../fakes/harness.ts";
import { type Command, type Manner, SERVERS, type Setting } from "./slumber_commands.ts";
import { Life, type Mail } from "./slumber_life.ts";
import { standingRequest } from "./slumber_standing.ts";
import { MIN_TTL_MS, Run, serverId } from "./slumber_run.ts";
import { Watch } from "./slumber_watch.ts";

/** What a kill may cut. */
export type Hold = SessionStore & { cut(): void };

type Of<Do extends Command["do"]> = Extract<Command, { do: Do }>;

/** See the module's documentation. */
export class World {
  readonly lives: Life[] = [];
  readonly watch: Watch;
  run: Run;
  readonly #open: () => Hold;
  readonly #setting: Setting;
  #hold: Hold;
  readonly #manners: Manner[] = SERVERS.map(() => "answers");
  #memory = 0;
  #lastNo = 0;
  /** Messages, until it is seen what came of them. */
  #late: { life: Life; mail: Mail; isQuiet: boolean; until: number }[] = [];

  /** @param open Opens the store, which the last gateway has let go of. */
  constructor(setting: Setting, open: () => Hold) {
    this.#setting = setting;
    this.#open = open;
    this.#hold = open();
    this.watch = new Watch(this.lives);
    this.run = this.#start(undefined);
  }

  #start(wall: number | undefined): Run {
    const no = this.run === undefined ? 0 : this.run.no + 1;
    return new Run(no, this.#hold, {
      setting: this.#setting,
      wall,
      manners: this.#manners,
      memory: () => this.#memory,
    });
  }

  get now(): number {
    return this.run.clock.wallTime();
  }

  /** Carries out one command, and looks what came of it. */
  async step(command: Command): Promise<void> {
    this.perform(command);
    if (command.do === "advance") return await this.advance(command.ms);
    if (command.do !== "restart") return await this.look();
    // A gateway that is killed in the turn of a message has not handled it.
    if (!command.inTurn) await this.look();
    await this.restart(command.downMs);
  }

  /** Moves time on, and looks at each instant at which a timer is due. */
  async advance(ms: number): Promise<void> {
    const { clock } = this.run;
    const until = clock.now() + ms;
    do {
      const next = Math.max(clock.now(), Math.min(clock.nextAt, until));
      await clock.advance(next - clock.now());
      await this.look();
    } while (clock.now() < until);
  }

  async look(): Promise<void> {
    await settle();
    this.watch.look(this.run);
    for (const { life, mail, ...late } of this.#late.splice(0)) this.watch.checkLate(life, mail, late);
  }

  /** Ends the run, by a kill unless it was stopped, and begins the next. */
  async restart(downMs: number): Promise<void> {
    const isKill = this.run.drained === undefined;
    if (isKill) {
      this.#hold.cut();
      for (const server of this.run.servers) server.dead = true;
      await settle();
    } else await this.finish();
    const now = this.now;
    for (const life of this.lives) life.restarted(now, { killed: isKill });
    this.#late = [];
    this.#hold = this.#open();
    this.run = this.#start(now + downMs);
    await this.look();
  }

  /** Once all that fails has ended, each server has room for a session again. */
  async recover(): Promise<void> {
    if (this.run.drained !== undefined) return;
    this.#manners.fill("answers");
    this.#memory = 0;
    for (const server of SERVERS.keys()) this.run.replace(server, { isGone: false });
    for (const server of this.run.servers) {
      server.stubborn = false;
      if (server.closes.length > 0) server.finishClose();
    }
    await this.look();
    for (let minutes = 0; minutes < 3; minutes++) await this.advance(60_000);
    for (const server of SERVERS.keys()) {
      await this.step({ do: "open", server, implicit: false });
      assert(this.lives.at(-1)!.id !== undefined, `server ${server} opens nothing`);
      await this.step({ do: "delete", who: 0 });
    }
  }

  /** Ends the run and checks that nothing is left of it. */
  async finish(): Promise<void> {
    const { run } = this;
    const { clock, supervisor, servers } = run;
    run.stop({ drainMs: 0, hurry: true });
    await this.look();
    for (const server of servers) {
      server.stubborn = false;
      assert(server.closes.length > 0, "a backend was not closed");
      server.finishClose();
    }
    await settle();
    // Those that were still taken up, and what was said in the same turn.
    await this.advance(1);
    await run.drained;
    await this.look();
    assertEquals(clock.pending, 0, "timers are left");
    assertEquals([supervisor.size, supervisor.door.counts.processes], [0, 0], "something is left");
    assertEquals(supervisor.door.counts.waiting, 0, "somebody waits");
    for (const life of this.lives) {
      for (const { reply, tag } of life.mail) assert(reply.completions < 2, `${tag} was completed twice`);
      // Who hung up while it waited is told nothing.
      for (const { tag, reply } of life.pending) assert(!reply.open, `${tag} was never answered`);
    }
  }

  perform(command: Command): void {
    switch (command.do) {
      case "open":
        return this.#openLife(command);
      case "press":
        this.watch.pressed ||= command.memory > 0;
        return void (this.#memory = command.memory);
      case "manner":
        return void (this.#manners[command.server] = command.manner);
      case "replace":
        return this.run.replace(command.server, command);
      case "stop":
        return this.run.stop(command);
      case "advance":
      case "restart":
        return;
    }
    const life = this.lives.at(-1 - command.who % Math.max(1, this.lives.length));
    if (life !== undefined) this.#act(life, command);
  }

  #mail(fields: Pick<Mail, "what" | "id" | "tag"> & Partial<Mail>): Mail {
    const { run, now } = this;
    return { reply: new FakeReply(), run, at: now, settled: false, ...fields };
  }

  #openLife({ server, implicit }: Of<"open">): void {
    const tag = `m${++this.#lastNo}`;
    const params = implicit
      ? { tag }
      : { protocolVersion: "2025-06-18", capabilities: { roots: {} }, mark: tag };
    const life = new Life(this.lives.length, server, implicit, params);
    this.lives.push(life);
    life.openedAt = life.usedAtMost = this.now;
    const id = implicit ? 0 : "open";
    const mail = this.#mail({ what: "open", id, tag });
    life.sent(mail);
    this.run.supervisor.open({
      serverId: serverId(server),
      principal: PRINCIPAL,
      opener: {
        tag: "message",
        message: message({ id, method: implicit ? "tools/call" : "initialize", params }),
        reply: mail.reply,
      },
      implicitVersion: implicit ? "2025-03-26" : undefined,
    });
  }

  /** A client's message, as a route hands it over. */
  #post(
    life: Life,
    what: Mail["what"],
    fields: Record<string, unknown>,
    more: Partial<Mail> = {},
  ): void {
    if (life.id === undefined) return;
    const { tag } = (fields.params ?? fields.result) as { tag: string };
    const isQuiet = life.pending.length === 0;
    const mail = this.#mail({ what, id: String(fields.id), tag, ...more });
    const { until } = life.bounds({ pressed: false, minTtlMs: MIN_TTL_MS });
    this.#late.push({ life, mail, isQuiet, until });
    life.sent(mail);
    const { supervisor } = this.run;
    const session = supervisor.find(serverId(life.server), life.id, PRINCIPAL);
    if (session === undefined) {
      const failure = supervisor.notFound(serverId(life.server), life.id, PRINCIPAL, { request: true });
      return mail.reply.fail(failure);
    }
    if (mail.stream === undefined) {
      return session.post({ tag: "message", message: message(fields), reply: mail.reply });
    }
    life.standalone = mail.stream;
    session.post({ tag: "stream", stream: mail.stream, reply: mail.reply });
  }

  #act(
    life: Life,
    command: Exclude<Command, Of<"open" | "advance" | "press" | "manner" | "replace" | "stop" | "restart">>,
  ): void {
    const no = ++this.#lastNo;
    const tag = `m${no}`;
    const id = "id" in command ? command.id : 0;
    const ask = (method: string, params: object, standing?: Mail["standing"], reqId: string | number = id) =>
      this.#post(life, "request", { id: reqId, method, params: { tag: `${tag}r${reqId}`, ...params } }, {
        id: reqId,
        ...(standing && { standing }),
      });
    const server = life.handle === undefined ? undefined : this.run.serverOf(life.handle);
    switch (command.do) {
      case "request":
        return ask("tools/call", {});
      case "requests":
        return [0, 1, 2].forEach((id) => ask("tools/call", {}, undefined, id));
      case "setLevel":
      case "subscribe":
      case "unsubscribe": {
        const { method, params, standing } = standingRequest(command.do, id);
        return ask(method, params, standing);
      }
      case "notify":
        return this.#post(life, "notification", {
          method: "notifications/roots/list_changed",
          params: { tag },
        });
      case "cancel":
        return this.#post(life, "notification", {
          method: "notifications/cancelled",
          params: { tag, requestId: id },
        });
      case "respond":
        return this.#post(life, "response", { id: `q${id}`, result: { tag } });
      case "answerPing": {
        const ping = life.standalone?.messages.findLast(({ method }) => method === "ping")?.id ??
          "sojourn:ping:0";
        return this.#post(life, "pong", { id: ping, result: { tag } });
      }
      case "openStream":
        return this.#post(life, "stream", { params: { tag } }, { stream: new FakeStream() });
      case "hangUpStream":
        return life.standalone?.hangUp();
      case "hangUpReply":
        return life.pending.find((mail) => mail.id === id)?.reply.hangUp();
      case "delete": {
        const session = life.id && this.run.supervisor.find(serverId(life.server), life.id, PRINCIPAL);
        if (!session) return;
        life.deleted = true;
        return void session.end("client_delete");
      }
      case "hibernate":
        return this.run.supervisor.byHandle(life.handle ?? "")?.hibernate("its process was needed");
    }
    if (server === undefined || server.dead) return;
    switch (command.do) {
      case "serverStarts":
        return server.greet();
      case "serverAnswers":
        return server.answer(id, { tag: "" });
      case "serverRefuses":
        return server.says({ id, error: { code: -32000, message: "no" } });
      case "serverAsks":
        life.askedAt = this.now;
        return server.says({ id: `q${id}`, method: "roots/list", params: {} });
      case "serverTells":
        return server.says({ method: "notifications/message", params: { no } });
      case "serverExits":
        life.exitedAt = this.now;
        return server.exit();
      case "toggleStubborn":
        server.stubborn = !server.stubborn;
        if (!server.stubborn && server.closes.length > 0) server.finishClose();
    }
  }
}
