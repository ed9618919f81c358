/**
 * The application with sessions of several revisions, principals and servers, and one that has ended.
 *
 * @module
 */
import { assert, assertEquals, assertExists } from "@std/assert";
import type { Session } from "../../actors/supervisor.ts";
import { Access, digestOf } from "../../routes/access.ts";
import { AppHarness, INITIALIZE, ORIGIN, POST_HEADERS } from "../fakes/app_harness.ts";
import { FakeBackend } from "../fakes/fake_backend.ts";
import { settle } from "../fakes/fake_clock.ts";
import { LIMITS, SERVER } from "../fakes/harness.ts";
import { BUSY_ID, type Lookup, type Name, type Principal, PRINCIPALS, QUESTION_ID } from "./mutants.ts";

/** A session that looks right and never was. */
const NOBODY = "3f2504e0-4f89-41d3-9a0c-0305e82c3301";
/** Turns within which an answer comes that comes at all; a body in bits takes one for each. */
const MAX_TURNS = 12;
/** The other server; both are fakes. */
export const OTHER = "other";

const tokenOf = (principal: Principal) => `${principal}-has-a-long-token`;

/** The body of a response that comes to its end. */
export async function textOf(response: Response): Promise<string> {
  let text: string | undefined;
  response.text().then((whole) => text = whole, () => {});
  for (let turn = 0; turn < MAX_TURNS && text === undefined; turn++) await settle();
  assert(text !== undefined, "the response has no end");
  return text;
}

/** A session, seen from all sides. */
export interface Party {
  readonly name: Name;
  readonly serverId: string;
  readonly principal: Principal;
  readonly id: string;
  readonly version: string;
  readonly session: Session;
  readonly backend: FakeBackend;
  /** The response to the request in flight, a stream; undefined where none is. */
  busy: Response | undefined;
  /** Whether its server waits for an answer of the client. */
  asked: boolean;
  /** Whether the client has taken back the request in flight. */
  cancelled: boolean;
}

/** See the module's documentation. */
export class MutationWorld implements Lookup {
  readonly app: AppHarness;
  readonly parties: Party[] = [];
  #goneId = "";
  /** How many messages of each backend were looked at. */
  readonly #seen = new Map<FakeBackend, number>();

  constructor() {
    this.app = new AppHarness({
      autoInitialize: false,
      access: (clock) =>
        new Access({
          clock,
          tokenRequired: true,
          tokens: PRINCIPALS.slice(0, 3).map((principal) => ({
            principal,
            digest: digestOf(tokenOf(principal)),
            servers: principal === "carol" ? new Set([OTHER]) : undefined,
            expiresAtMs: undefined,
          })),
          allowedOrigins: [],
          allowedHosts: [],
          onLoopback: true,
        }),
      moreServers: [{
        id: OTHER,
        limits: LIMITS,
        backend: (owner, events) => {
          const backend = new FakeBackend(owner, events, { autoInitialize: this.app.harness.autoInitialize });
          this.app.harness.backends.push(backend);
          return backend;
        },
      }],
    });
  }

  /** Opens all sessions. From then on servers answer `initialize` by themselves. */
  static async open(): Promise<MutationWorld> {
    const world = new MutationWorld();
    await world.#open("june", "2025-06-18");
    await world.#open("march", "2025-03-26");
    await world.#open("november", "2025-11-25");
    await world.#open("bob", "2025-06-18");
    await world.#open("elsewhere", "2024-11-05");
    await world.#open("gone", "2025-06-18");
    const gone = world.parties.pop()!;
    world.#goneId = gone.id;
    const response = await world.app.send("DELETE", { headers: world.headersOf(gone) });
    assertEquals(response.status, 204);
    world.app.harness.autoInitialize = true;
    return world;
  }

  idOf(name: Name): string {
    if (name === "nobody") return NOBODY;
    return name === "gone" ? this.#goneId : this.party(name).id;
  }

  versionOf(name: Name): string {
    return this.parties.find((party) => party.name === name)?.version ?? "2025-06-18";
  }

  tokenOf(principal: Principal): string {
    return tokenOf(principal);
  }

  party(name: Name): Party {
    const party = this.parties.find((party) => party.name === name);
    assertExists(party, `${name} has no session`);
    return party;
  }

  /** The headers of a request in a session. */
  headersOf({ id, principal }: { id: string; principal: Principal }): Record<string, string> {
    return { ...POST_HEADERS, "mcp-session-id": id, authorization: `Bearer ${tokenOf(principal)}` };
  }

  /** A message of the client's in a session. */
  requestIn(party: Party, message: Record<string, unknown>): Request {
    return new Request(`${ORIGIN}/mcp/${party.serverId}`, {
      method: "POST",
      headers: this.headersOf(party),
      body: JSON.stringify({ jsonrpc: "2.0", ...message }),
    });
  }

  /** Puts a request in flight in a session, on whose stream its server asks something. */
  async occupy(party: Party): Promise<void> {
    const response = this.app.fetch(this.requestIn(party, { id: BUSY_ID, method: "wait" }));
    await settle();
    party.backend.says({ id: QUESTION_ID, method: "roots/list" });
    party.busy = await response;
    party.asked = true;
    this.fresh();
  }

  /**
   * Sends a request, and answers in the servers' place whatever reaches them.
   *
   * @returns The response and what reached which server meanwhile.
   */
  async exchange(request: Request): Promise<{ response: Response; reached: Map<FakeBackend, string[]> }> {
    let response: Response | undefined;
    let failed: unknown;
    const reached = new Map<FakeBackend, string[]>();
    const whole = this.app.fetch(request).then((given) => response = given, (error) => failed = error);
    for (let turn = 0; turn < MAX_TURNS && response === undefined && failed === undefined; turn++) {
      await settle();
      for (const [backend, texts] of this.fresh()) {
        reached.set(backend, [...reached.get(backend) ?? [], ...texts]);
      }
    }
    if (failed !== undefined) throw failed;
    assert(response !== undefined, "the request was not answered");
    await whole;
    // What comes behind the answer comes unasked.
    await settle();
    for (const [backend, texts] of this.fresh()) {
      reached.set(backend, [...reached.get(backend) ?? [], ...texts]);
    }
    return { response, reached };
  }

  /** Answers requests that reached servers since the last look; returns everything that did, by server. */
  fresh(): Map<FakeBackend, string[]> {
    const fresh = new Map<FakeBackend, string[]>();
    for (const [no, backend] of this.app.harness.backends.entries()) {
      const from = this.#seen.get(backend) ?? 0;
      const messages = backend.received.slice(from);
      this.#seen.set(backend, from + messages.length);
      if (messages.length > 0) fresh.set(backend, messages.map(({ text }) => text));
      for (const message of messages) {
        if (message.kind !== "request" || backend.options.autoInitialize && message.method === "initialize") {
          continue;
        }
        // The one in flight stays there.
        if (message.method !== "wait") backend.answer(message.id, { by: no });
      }
    }
    return fresh;
  }

  /** What a server answers, as its client sees it. */
  resultOf(backend: FakeBackend): Record<string, unknown> {
    return { by: this.app.harness.backends.indexOf(backend) };
  }

  async #open(name: Name, protocolVersion: string): Promise<void> {
    const { harness } = this.app;
    const principal = name === "bob" ? "bob" : "ann";
    const serverId = name === "elsewhere" ? OTHER : SERVER;
    const before = harness.backends.length;
    const pending = this.app.fetch(
      new Request(`${ORIGIN}/mcp/${serverId}`, {
        method: "POST",
        headers: { ...POST_HEADERS, authorization: `Bearer ${tokenOf(principal)}` },
        body: JSON.stringify(INITIALIZE),
      }),
    );
    // The body is read in more than one turn.
    for (let turn = 0; turn < MAX_TURNS && harness.backends[before]?.received.length !== 1; turn++) {
      await settle();
    }
    assertEquals(harness.backends.length, before + 1, "the opening started no server");
    const { backend } = harness;
    backend.answer("init", { protocolVersion, capabilities: {}, serverInfo: { name: "fake", version: "1" } });
    const response = await pending;
    await response.body?.cancel();
    const id = response.headers.get("mcp-session-id");
    assertExists(id, "the opening named no session");
    const session = harness.supervisor.find(serverId, id, principal);
    assertExists(session, "the opened session is not to be found");
    this.#seen.set(backend, backend.received.length);
    this.parties.push({
      ...{ name, serverId, principal, id, version: protocolVersion, session, backend },
      busy: undefined,
      asked: false,
      cancelled: false,
    });
  }
}
