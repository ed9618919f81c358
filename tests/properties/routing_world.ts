/**
 * Several clients and their servers around the real application: carries out commands and writes down what
 * everybody said. It expects nothing; see `routing_oracle.ts` for that.
 *
 * @module
 */
import { assert, assertEquals, assertExists } from "@std/assert";
import { publicHandle } from "../../actors/session_id.ts";
import { SESSION_HEADER, VERSION_HEADER } from "../../protocol/revisions.ts";
import { POST_HEADERS } from "../fakes/app_harness.ts";
import { settle } from "../fakes/fake_clock.ts";
import { Channel } from "./routing_channel.ts";
import { type Opening, type Principal, PRINCIPALS, type SessionCommand } from "./routing_commands.ts";
import { Messages, textOf } from "./routing_messages.ts";
import { type Deed, Party, routingApp } from "./routing_party.ts";

/** Turns of the event loop that a message may take through the gateway. */
const MAX_TURNS = 100;
/** Sessions of one schedule. */
const MAX_SESSIONS = 6;
/**
 * Characters that one server says at most: less than may wait for a client that does not read, so that no server is
 * ever stopped, and more than is kept.
 */
const MAX_TOLD_CHARS = 1_500_000;
/** All sessions are opened under the same id. */
const INITIALIZE_ID = "open";

const NOTHING: Deed = { did: "nothing" };

/** See the module's documentation. */
export class RoutingWorld {
  readonly app = routingApp();
  readonly parties: Party[] = [];
  /** What happened, line by line, for the text of a failure. */
  readonly story: string[] = [];
  /** Messages of a client by their text, and whose they are; those that the gateway makes are not among them. */
  readonly fromClients = new Map<string, Party>();
  /** The same of the servers. */
  readonly fromServers = new Map<string, Party>();
  readonly #messages = new Messages();
  /** What has neither a response nor reached a server. */
  #underway: Channel[] = [];
  /** The texts of all that reached a server. */
  readonly #arrived = new Set<string>();
  #channels = 0;

  get now(): number {
    return this.app.harness.clock.now();
  }

  /** Opens sessions, all at the same time. */
  async open(openings: readonly Opening[]): Promise<void> {
    const { backends } = this.app.harness;
    const first = backends.length;
    const pending = openings.map((opening) => {
      const { text, serial } = this.#messages.initialize(INITIALIZE_ID, opening.version);
      return { opening, serial, response: this.#send("POST", text, { opening }) };
    });
    await until(() =>
      backends.length === first + openings.length && backends.every(({ received }) => received.length > 0)
    );
    // They start in the reverse order.
    for (const { opening, serial, response } of pending.reverse()) {
      const backend = backends.find(({ received: [initialize] }) =>
        initialize!.kind === "request" && initialize!.params?.serial === serial
      );
      assertExists(backend, "an initialize reached no server");
      backend.answer(INITIALIZE_ID, { protocolVersion: opening.version });
      const opened = await response;
      await opened.body?.cancel();
      const sessionId = opened.headers.get(SESSION_HEADER);
      assertExists(sessionId, "an opening named no session");
      assertEquals(backend.owner.session, publicHandle(sessionId), "a session got another one's server");
      const party = new Party(this.parties.length, opening, sessionId, backend);
      this.parties.push(party);
      this.#tell(party, `opened by ${opening.principal} with ${opening.version}`);
    }
  }

  party(who: number): Party {
    return this.parties[who % this.parties.length]!;
  }

  /** Whether one more session may be opened. */
  get hasRoom(): boolean {
    return this.parties.length < MAX_SESSIONS;
  }

  async advance(ms: number): Promise<void> {
    this.story.push(`${ms} ms pass`);
    await this.app.harness.clock.advance(ms);
  }

  /** Carries out a command of one session, which takes effect by the next {@link arrive}. */
  perform(party: Party, command: SessionCommand): Deed {
    const { backend } = party;
    switch (command.do) {
      case "request":
        return this.#post(party, [this.#messages.request(command)]);
      case "batch": {
        if (party.opening.version !== "2025-03-26") return NOTHING;
        const notes = Array.from({ length: command.notes }, () => this.#messages.notification());
        return this.#post(party, [...command.asks.map((ask) => this.#messages.request(ask)), ...notes], true);
      }
      case "notify":
        return this.#post(party, [this.#messages.notification()]);
      case "respond":
        return this.#post(party, [this.#messages.answer(command.id, command.isError)]);
      case "cancel":
        return this.#post(party, [this.#messages.cancellation(command.id)]);
      case "openStream":
        party.standalone = this.#channel(party, this.#send("GET", undefined, party), { what: "GET" });
        return { did: "get", channel: party.standalone };
      case "hangUpStream":
      case "hangUp":
      case "stopReading":
      case "goOnReading":
        return this.#read(party, command);
      case "trespass": {
        const { method } = command;
        const principal = PRINCIPALS.find((principal) => principal !== party.opening.principal)!;
        const body = method === "POST" ? this.#messages.notification() : undefined;
        const response = this.#send(method, body, party, principal);
        const what = `${method} by ${principal} ${body ?? ""}`;
        return { did: "trespass", channel: this.#channel(party, response, { what }) };
      }
      case "delete":
        this.#channel(party, this.#send("DELETE", undefined, party), { what: "DELETE" });
        party.deleted = true;
        return { did: "delete" };
      case "serverExits":
        this.#tell(party, "server exits");
        backend.exit();
        return { did: "exit" };
      default:
        return this.#say(party, command);
    }
  }

  /** Waits until all that was sent is where it goes. */
  async arrive(): Promise<void> {
    await until(() => {
      for (const party of this.parties) this.#lookAt(party);
      this.#underway = this.#underway.filter((channel) => {
        channel.check();
        return channel.status === undefined && !channel.posted.some((text) => this.#arrived.has(text));
      });
      return this.#underway.length === 0;
    });
    // What comes of it may take another turn.
    await settle();
    for (const { channels } of this.parties) for (const channel of channels) channel.check();
  }

  /** Lets everybody read to the end, ends all sessions and checks that nothing of them is left. */
  async finish(): Promise<void> {
    for (const { channels } of this.parties) for (const channel of channels) channel.goOn();
    await settle();
    await this.app.stop();
    await settle();
    for (const party of this.parties) {
      for (const channel of party.channels) {
        channel.check();
        assert(channel.ended || channel.gone, `#${channel.no} of session ${party.no} did not end`);
      }
    }
  }

  /** What the server has received and nobody looked at, oldest first. */
  news(party: Party): string[] {
    const { received } = party.backend;
    return received.slice(party.looked, party.looked = received.length).map(({ text }) => text);
  }

  #lookAt(party: Party): void {
    const { received } = party.backend;
    for (; party.received < received.length; party.received++) {
      const got = received[party.received]!;
      this.#arrived.add(got.text);
      if (got.kind === "request") party.unanswered.push(got.id);
    }
  }

  #say(party: Party, command: SessionCommand): Deed {
    const { backend, unanswered } = party;
    // A server that is not read from may as well have said nothing yet.
    if (backend.gone || backend.paused) return NOTHING;
    const [answering] = command.do === "serverAnswers" && unanswered.length > 0
      ? unanswered.splice(-1 - command.nth % unanswered.length, 1)
      : [];
    const said = this.#messages.said(command, answering);
    const texts = said.map(textOf);
    party.toldChars += texts.reduce((sum, text) => sum + text.length, 0);
    if (party.toldChars > MAX_TOLD_CHARS) return NOTHING;
    for (const text of texts) {
      this.fromServers.set(text, party);
      this.#tell(party, `server says ${text}`);
    }
    for (const fields of said) backend.says({ ...fields });
    return { did: "say", texts };
  }

  #read(party: Party, command: SessionCommand): Deed {
    const { live } = party;
    const channel = command.do === "hangUpStream"
      ? party.standalone
      : "nth" in command
      ? live.at(-1 - command.nth % Math.max(1, live.length))
      : undefined;
    if (channel === undefined || !live.includes(channel)) return NOTHING;
    this.#tell(party, `client: ${command.do} #${channel.no}`);
    if (command.do === "stopReading") channel.stop(this.now);
    else if (command.do === "goOnReading") channel.goOn();
    else channel.hangUp();
    return NOTHING;
  }

  #post(party: Party, texts: readonly string[], isBatch = false): Deed {
    const body = isBatch ? `[${texts.join(",")}]` : texts[0]!;
    for (const text of texts) this.fromClients.set(text, party);
    const response = this.#send("POST", body, party);
    const channel = this.#channel(party, response, { what: `POST ${body}`, posted: texts });
    return { did: "post", channel };
  }

  #channel(
    party: Party,
    response: Promise<Response>,
    { what, posted = [] }: { what: string; posted?: readonly string[] },
  ): Channel {
    const mayPrime = party.opening.version >= "2025-11-25";
    const channel = new Channel(++this.#channels, response, { mayPrime, posted });
    party.channels.push(channel);
    this.#underway.push(channel);
    this.#tell(party, `client #${channel.no}: ${what}`);
    return channel;
  }

  #send(
    method: string,
    body: string | undefined,
    { opening, sessionId }: { opening: Opening; sessionId?: string },
    principal: Principal = opening.principal,
  ): Promise<Response> {
    const headers = {
      ...POST_HEADERS,
      authorization: `Bearer ${principal}`,
      ...(sessionId !== undefined && { [SESSION_HEADER]: sessionId, [VERSION_HEADER]: opening.version }),
    };
    return this.app.send(method, { headers, ...(body !== undefined && { body }) });
  }

  #tell(party: Party, what: string): void {
    const short = what.replace(/(.)\1{99,}/g, "$1…");
    this.story.push(`session ${party.no}: ${short.replaceAll('"jsonrpc":"2.0",', "")}`);
  }
}

async function until(isSo: () => boolean): Promise<void> {
  for (let turns = 0; !isSo(); turns++) {
    assert(turns < MAX_TURNS, "a message of a client did not arrive");
    await settle();
  }
}
