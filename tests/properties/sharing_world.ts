/**
 * Sessions that share servers, and beside them what each should have got: reckoned from the rules in
 * `docs/backends.md`, not from the code.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { SharedSource } from "../../backends/shared.ts";
import { SpawnGate } from "../../backends/spawn_gate.ts";
import type { RequestId } from "../../protocol/jsonrpc.ts";
import { Listener } from "../backends/pool_harness.ts";
import { INITIALIZE_RESULT } from "../fakes/fake_backend.ts";
import { FakeClock, settle } from "../fakes/fake_clock.ts";
import { type Command, LEVELS, URIS } from "./sharing_commands.ts";
import { type Asked, CANCELLED, describe, ofWhom, Party, type Question } from "./sharing_party.ts";
import { SharingServer, type Work } from "./sharing_server.ts";

/** For so long a cancelled request counts as one that the server works on, in ms. */
const LINGER_MS = 10_000;

/** See the module's documentation. */
export class SharingWorld {
  readonly clock = new FakeClock();
  readonly servers: SharingServer[] = [];
  readonly parties: Party[] = [];
  readonly source: SharedSource;
  readonly #gate = new SpawnGate({ concurrency: 100, clock: this.clock });
  readonly #questions = new Map<RequestId, Question>();
  readonly #maxSessions: number;
  #lazy = false;
  #count = 0;

  constructor({ children = 2, maxSessions = 12 }: { children?: number; maxSessions?: number } = {}) {
    this.#maxSessions = maxSessions;
    this.source = new SharedSource({
      serverId: "sharing",
      gate: this.#gate,
      clock: this.clock,
      startTimeoutMs: 1_000_000_000,
      shared: children,
      open: (owner, events) => {
        const pid = this.servers.length + 1;
        const server = new SharingServer(this, { pid, owner, events, autoInitialize: !this.#lazy });
        this.servers.push(server);
        return server;
      },
    });
  }

  get now(): number {
    return this.clock.now();
  }

  /** Does one thing, at once. What it has to lead to is noted; {@link check} compares. */
  perform(command: Exclude<Command, { readonly do: "advance" }>): void {
    this.#catchUp();
    switch (command.do) {
      case "open":
        return this.#open();
      case "lazy":
        this.#lazy = command.on;
        return;
      case "request":
      case "cancel":
      case "cancelNone":
      case "reply":
      case "forge":
      case "pause":
      case "resume":
      case "close": {
        const party = pick(this.parties, command.who);
        return party === undefined || party.over ? undefined : this.#client(party, command);
      }
      case "ready": {
        const server = pick(
          this.servers.filter(({ gone, methods }) => !gone && methods.length === 1),
          command.at,
        );
        if (server?.options.autoInitialize === false) server.answer("sojourn:initialize", INITIALIZE_RESULT);
        return;
      }
      default: {
        const server = pick(this.servers.filter(({ ready }) => ready), command.at);
        return server === undefined ? undefined : this.#server(server, command);
      }
    }
  }

  /**
   * Compares what every session got with what it should have.
   *
   * @param options.inOrder Whether order counts; that of what servers said always does.
   */
  check({ inOrder }: { readonly inOrder: boolean }): void {
    this.#catchUp();
    for (const party of this.parties) {
      const name = `session ${party.no}`;
      const { messages, exits } = party.listener;
      const got = messages.map(describe);
      for (const message of messages) {
        const of = ofWhom(message);
        assert(of === undefined || of === party.no, `${name} got what is session ${of}'s: ${message.text}`);
      }
      assertEquals(exits.length > 0, party.over, `${name} has exited`);
      if (party.closed || (party.paused && !party.over)) {
        if (inOrder) assertEquals(got, party.expected.slice(0, got.length), name);
      } else {
        assertEquals(got.toSorted(), party.expected.toSorted(), name);
        const inLine = (texts: readonly string[]) => inOrder ? texts : texts.filter(isOfServer);
        assertEquals(inLine(got), inLine(party.expected), name);
      }
    }
    for (const [id, { server, party, answers }] of this.#questions) {
      if (server.gone) continue;
      const replies = server.replies.get(id) ?? [];
      assertEquals(replies.length, answers, `answers to the question ${id}`);
      for (const reply of replies) {
        assert([undefined, party?.no].includes(ofWhom(reply)), "another session answered");
      }
    }
    for (const server of this.servers) if (server.ready) this.#checkWishes(server);
  }

  /** Ends everything, and looks whether anything is left. */
  async finish(): Promise<void> {
    for (const party of this.parties) if (party.paused && !party.over) this.#client(party, { do: "resume" });
    await settle();
    this.check({ inOrder: false });
    await Promise.all(this.parties.map(({ listener }) => listener.close()));
    for (const server of this.servers) {
      if (server.ready) assertEquals([...server.subscribed], [], "subscriptions without sessions");
    }
    await this.source.close();
    for (const { listener } of this.parties) assertEquals(listener.exits.length, 1);
    assertEquals(this.servers.filter(({ gone }) => !gone).length, 0);
    assertEquals([this.clock.pending, this.#gate.starting, this.#gate.waiting, this.source.spare], [
      0,
      0,
      0,
      0,
    ]);
  }

  #open(): void {
    if (this.parties.filter(({ over }) => !over).length >= this.#maxSessions) return;
    const listener = new Listener(this.source, `s${this.parties.length}`);
    const server = this.servers.find(({ pid }) => pid === listener.backend.pid);
    const party = new Party(this.parties.length, listener, server);
    this.parties.push(party);
    listener.initialize({ id: "init" });
    listener.confirm();
    this.#onceReady(party, () => party.expected.push('answer "init" init'));
  }

  #client(party: Party, command: { readonly do: "resume" } | Command & { readonly who: number }): void {
    const { listener } = party;
    switch (command.do) {
      case "request":
        return this.#request(party, command);
      case "cancel": {
        const asked = pick(
          party.asked.filter(({ state }) => state === "held" || state === "open"),
          command.which,
        );
        if (asked === undefined) return;
        listener.send({ method: CANCELLED, params: { requestId: asked.id, of: party.no } });
        return this.#onceReady(party, () => {
          if (asked.state === "open") this.#cancelled(asked);
        });
      }
      case "cancelNone": {
        const requestId = command.which % 50;
        if (party.asked.some(({ id, state }) => id === requestId && state !== "answered")) return;
        return void listener.send({ method: CANCELLED, params: { requestId, of: party.no } });
      }
      case "reply":
      case "forge": {
        const own = command.do === "reply";
        const questions = Array.from(this.#questions).filter(([, question]) =>
          own ? question.party === party && question.isOpen : question.party !== party || !question.isOpen
        );
        const [id, question] = pick(questions, command.which) ?? [];
        if (id === undefined || question === undefined) return;
        listener.send({ id, result: { of: party.no } });
        if (!own) return;
        question.isOpen = false;
        question.answers++;
        return;
      }
      case "pause":
        listener.backend.pause();
        party.paused = true;
        return;
      case "resume":
        party.paused = false;
        return listener.backend.resume();
      case "close":
        return this.#close(party);
    }
  }

  #request(party: Party, command: Command & { readonly do: "request" }): void {
    const isFree = (id: RequestId) =>
      !party.asked.some((asked) => asked.id === id && (asked.state === "held" || asked.state === "open"));
    const id = [command.id, String(command.id), command.id + 10].find(isFree);
    if (id === undefined) return;
    const { method, token, uri, level, isRefused } = command;
    const n = ++this.#count;
    const asked: Asked = {
      n,
      id,
      token,
      method,
      uri,
      state: "held",
      isGranted: false,
      lingersUntil: -Infinity,
      isVoid: false,
    };
    party.asked.push(asked);
    const meta = token === undefined ? {} : { _meta: { progressToken: token } };
    party.listener.send({ id, method, params: { of: party.no, n, uri, level, isRefused, ...meta } });
    this.#onceReady(party, () => {
      const isSent = party.server!.work.some((work) => work.n === n);
      asked.state = isSent ? "open" : "answered";
      if (!isSent) party.expected.push(`answer ${JSON.stringify(id)} local`);
      if (method === "tools/list" || method === "resources/list") {
        party.lists.add(method.replace("/list", ""));
      }
      if (method === "logging/setLevel") party.level = level;
      if (method !== "resources/unsubscribe") return;
      for (const other of party.asked) {
        if (other.n < n && other.method === "resources/subscribe" && other.uri === uri) other.isVoid = true;
      }
    });
  }

  #close(party: Party): void {
    void party.listener.close();
    party.closed = true;
    party.held = [];
    for (const asked of party.asked) if (asked.state === "open") this.#cancelled(asked);
    for (const question of this.#questions.values()) {
      if (question.party !== party || !question.isOpen) continue;
      question.isOpen = false;
      question.answers++;
    }
  }

  #cancelled(asked: Asked): void {
    asked.state = "cancelled";
    asked.lingersUntil = this.now + LINGER_MS;
  }

  #server(server: SharingServer, command: Command & { readonly at: number }): void {
    switch (command.do) {
      case "answer": {
        const work = pick(server.work, command.which);
        if (work === undefined) return;
        const { party, asked } = this.#askedBy(work);
        server.finish(work);
        if (asked?.state !== "open") return;
        asked.state = "answered";
        asked.isGranted = !work.isRefused;
        const { id, n } = asked;
        return void party?.expected.push(
          `answer ${JSON.stringify(id)} ${work.isRefused ? "refused " : ""}n=${n}`,
        );
      }
      case "progress": {
        const works = [...server.work, ...server.done.slice(-3)].filter(({ token }) => token !== undefined);
        const work = pick(works, command.which);
        if (work === undefined) return;
        const { token: progressToken, of, n } = work;
        server.says({ method: "notifications/progress", params: { progressToken, progress: 1, of, n } });
        const { party, asked } = this.#askedBy(work);
        if (asked?.state !== "open") return;
        return void party?.expected.push(`progress ${JSON.stringify(asked.token)} n=${n}`);
      }
      case "ask": {
        const id = `q${++this.#count}`;
        const { one } = this.#whose(server);
        this.#questions.set(id, {
          server,
          party: one,
          isOpen: one !== undefined,
          answers: one === undefined ? 1 : 0,
        });
        one?.expected.push(`ask ${id}`);
        return server.says({
          id,
          method: "sampling/createMessage",
          params: { of: this.#about(server, command) },
        });
      }
      case "custom": {
        const n = ++this.#count;
        this.#whose(server).one?.expected.push(`custom ${n}`);
        return server.says({
          method: "notifications/custom",
          params: { of: this.#about(server, command), n },
        });
      }
      case "log": {
        const n = ++this.#count;
        const { one, nobody } = this.#whose(server);
        for (const party of this.#partiesOf(server)) {
          const wants = party.level !== undefined &&
            LEVELS.indexOf(party.level as "debug") <= LEVELS.indexOf(command.level);
          if (wants && (nobody || one === party)) party.expected.push(`log ${n}`);
        }
        const params = { level: command.level, of: this.#about(server, command), n };
        return server.says({ method: "notifications/message", params });
      }
      case "update": {
        const above = URIS.filter((uri) => command.uri === uri || command.uri.startsWith(`${uri}/`));
        for (const party of this.#partiesOf(server)) {
          if (above.some((uri) => party.holds(uri))) party.expected.push(`update ${command.uri}`);
        }
        return server.says({ method: "notifications/resources/updated", params: { uri: command.uri } });
      }
      case "listChanged":
        for (const party of this.#partiesOf(server)) {
          if (party.lists.has(command.list)) party.expected.push(`changed ${command.list}`);
        }
        return server.says({ method: `notifications/${command.list}/list_changed` });
      case "takeBack": {
        const open = Array.from(this.#questions).filter(([, { server: own, isOpen }]) =>
          own === server && isOpen
        );
        const [requestId, question] = pick(open, command.which) ?? [];
        if (requestId === undefined || question === undefined) return;
        question.isOpen = false;
        question.party!.expected.push(`taken back ${requestId}`);
        return server.says({ method: CANCELLED, params: { requestId } });
      }
      case "ping": {
        const id = `ping${++this.#count}`;
        this.#questions.set(id, { server, party: undefined, isOpen: false, answers: 1 });
        return server.says({ id, method: "ping" });
      }
      case "die":
        return server.exit();
    }
  }

  /** Whose request the server says that its message is for; undefined where it has none. */
  #about(server: SharingServer, { which }: { readonly which: number }): number | undefined {
    return pick(server.busyWith, which)?.of;
  }

  #askedBy({ of, n }: Work): { party: Party | undefined; asked: Asked | undefined } {
    const party = of === undefined ? undefined : this.parties[of];
    return { party, asked: party?.asked.find((asked) => asked.n === n) };
  }

  /** The one session that the server works for, or whether there is none at all. */
  #whose(server: SharingServer): { readonly one: Party | undefined; readonly nobody: boolean } {
    const busy = this.parties.filter((party) =>
      party.server === server &&
      party.asked.some(({ state, lingersUntil }) => state === "open" || lingersUntil > this.now)
    );
    const [first] = busy;
    return { one: busy.length === 1 && !first!.closed ? first : undefined, nobody: busy.length === 0 };
  }

  #partiesOf(server: SharingServer): Party[] {
    return this.parties.filter((party) => party.server === server && !party.over);
  }

  #checkWishes(server: SharingServer): void {
    const parties = this.#partiesOf(server);
    for (const uri of URIS) {
      const isGranted = parties.some(({ asked }) =>
        asked.some((one) =>
          one.method === "resources/subscribe" && one.uri === uri && one.isGranted && !one.isVoid
        )
      );
      if (isGranted) assert(server.subscribed.has(uri), `the server is not subscribed to ${uri}`);
      const isHeld = parties.some((party) => party.holds(uri));
      if (!isHeld) assert(!server.subscribed.has(uri), `the server is subscribed to ${uri} for nobody`);
    }
    const wanted = LEVELS.find((level) => parties.some((party) => party.level === level));
    if (wanted !== undefined) assertEquals(server.level, wanted, "the level of the server");
  }

  /** What happens once the child of a session is ready: at once where it is. */
  #onceReady(party: Party, then: () => void): void {
    if (party.server?.ready && party.held.length === 0) then();
    else party.held.push(then);
  }

  #catchUp(): void {
    for (const party of this.parties) {
      if (party.held.length === 0 || !party.server?.ready) continue;
      for (const then of party.held.splice(0)) then();
    }
  }
}

/** Whether a message came from a server just when it was to be expected; the others the gateway makes. */
function isOfServer(text: string): boolean {
  return !/^answer .* (?:local|init)$/.test(text);
}

/** One of several, by a number that may be larger. */
function pick<Item>(items: readonly Item[], which: number): Item | undefined {
  return items[which % items.length];
}
