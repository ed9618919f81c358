/**
 * `/bridge` over a supervisor on fake time with fake backends: a server, another one, and a command that may be run.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import type { RequestMessage } from "../../protocol/jsonrpc.ts";
import { Access, digestOf } from "../../routes/access.ts";
import { createApp } from "../../routes/app.ts";
import { BODY_DEFAULTS, BodyReader } from "../../routes/body.ts";
import type { BridgeCommands } from "../../routes/bridge.ts";
import { BridgeSessions } from "../../routes/bridge_sessions.ts";
import { STREAM_DEFAULTS } from "../../routes/outflow.ts";
import { FakeBackend } from "./fake_backend.ts";
import { settle } from "./fake_clock.ts";
import { Harness, type HarnessOptions, LIMITS, SERVER } from "./harness.ts";

/** A server beside {@link SERVER}, with a small bound of bodies. */
export const SMALL = "small";
export const SMALL_BODY = 200;
/** The command that is listed, for any arguments but none. */
export const COMMAND = "tool";
/** What a session of the bridge lives idle, in ms: longer than an implicit one. */
export const BRIDGE_TTL = 60_000;
/** Requests wait so many turns at most until they are where they go. */
const MAX_TURNS = 50;

/** Whose token: `cat` may use {@link SMALL} only, `dan` {@link SERVER} and no command. */
export type Who = "ann" | "bob" | "cat" | "dan";

/** How to make a {@link BridgeHarness}. */
export interface BridgeHarnessOptions extends HarnessOptions {
  readonly bridgeTtlMs?: number;
  readonly maxBufferBytes?: number;
}

/** See the module's documentation. */
export class BridgeHarness implements AsyncDisposable {
  readonly harness: Harness;
  readonly sessions: BridgeSessions;
  /** The wishes that were granted, in order. */
  readonly run: string[] = [];
  readonly #app: (request: Request) => Response | Promise<Response>;
  readonly #bodies: BodyReader;

  constructor({ bridgeTtlMs = BRIDGE_TTL, maxBufferBytes, ...options }: BridgeHarnessOptions = {}) {
    const bridgeLimits = { ...LIMITS, ...options.limits, idleTtlMs: bridgeTtlMs };
    const openBackend: ConstructorParameters<typeof FakeBackend> extends [infer Owner, infer Events, unknown]
      ? (owner: Owner, events: Events) => FakeBackend
      : never = (owner, events) => {
        const backend = new FakeBackend(owner, events, { autoInitialize: this.harness.autoInitialize });
        this.harness.backends.push(backend);
        return backend;
      };
    const limits = { ...LIMITS, ...options.limits };
    this.harness = new Harness({
      ...options,
      bridgeLimits,
      moreServers: [
        { id: SMALL, limits, bridgeLimits, backend: openBackend },
        {
          id: `bridge:${COMMAND}`,
          limits,
          bridgeLimits,
          bridgeOnly: true,
          backend: () => {
            throw new Error("opened without its arguments");
          },
        },
      ],
    });
    const { clock, supervisor } = this.harness;
    const commands: BridgeCommands = {
      find: (wish, servers) => {
        const allowed = servers?.has(`bridge:${COMMAND}`) ?? true;
        if (!allowed || wish.serverPath !== COMMAND || wish.args.length === 0) {
          return { state: "refused", why: `${JSON.stringify(wish.serverPath)} is not listed` };
        }
        return {
          state: "listed",
          serverId: `bridge:${COMMAND}`,
          openBackend: (owner, events) => {
            this.run.push(JSON.stringify([wish.args, wish.env]));
            return openBackend(owner, events);
          },
        };
      },
    };
    const token = (principal: Who, servers?: string[]) => ({
      principal,
      digest: digestOf(principal),
      servers: servers && new Set(servers),
      expiresAtMs: undefined,
    });
    this.sessions = new BridgeSessions(supervisor);
    this.#bodies = new BodyReader({
      clock,
      ...BODY_DEFAULTS,
      maxBytes: (serverId) => serverId === SMALL ? SMALL_BODY : BODY_DEFAULTS.maxBytes(),
    });
    this.#app = createApp({
      access: new Access({
        clock,
        tokenRequired: true,
        tokens: [token("ann"), token("bob"), token("cat", [SMALL]), token("dan", [SERVER])],
        allowedOrigins: ["https://ok.example"],
        allowedHosts: [],
        onLoopback: true,
      }),
      supervisor,
      clock,
      implicitSessions: true,
      streams: {
        clock,
        ...STREAM_DEFAULTS,
        ...(maxBufferBytes !== undefined && { maxBufferBytes }),
        cuts: 0,
      },
      bodies: this.#bodies,
      commands,
      bridgeSessions: this.sessions,
    });
  }

  /** Sends a request. */
  async fetch(request: Request): Promise<Response> {
    return await this.#app(request);
  }

  /** POSTs a body to `/bridge` as somebody, `ann` unless said otherwise. */
  async post(
    body: unknown,
    { as = "ann", headers = {}, signal }: {
      as?: Who;
      headers?: Record<string, string>;
      signal?: AbortSignal;
    } = {},
  ): Promise<Response> {
    return await this.fetch(
      new Request("http://localhost/bridge", {
        method: "POST",
        headers: { authorization: `Bearer ${as}`, "content-type": "application/json", ...headers },
        body: typeof body === "string" ? body : JSON.stringify(body),
        ...(signal && { signal }),
      }),
    );
  }

  /** The newest backend once so many have been opened. */
  async backend(count: number): Promise<FakeBackend> {
    await this.until(() => this.harness.backends.length >= count);
    assertEquals(this.harness.backends.length, count, "backends that were opened");
    return this.harness.backends[count - 1]!;
  }

  /** The client's requests that a backend got, once they are so many. */
  async requests(backend: FakeBackend, count: number): Promise<RequestMessage[]> {
    await this.until(() => requestsOf(backend).length >= count);
    assertEquals(requestsOf(backend).length, count, "requests that reached the server");
    return requestsOf(backend);
  }

  /** Lets turns pass until something holds. Time stands still. */
  async until(holds: () => boolean): Promise<void> {
    for (let turn = 0; turn < MAX_TURNS && !holds(); turn++) await settle();
    assert(holds(), "it does not come about");
  }

  /** Lets pass what happens without time. */
  async idle(): Promise<void> {
    for (let turn = 0; turn < 10; turn++) await settle();
  }

  /** Ends all sessions, and fails if anything of them is left. */
  async [Symbol.asyncDispose](): Promise<void> {
    const { clock, supervisor, backends } = this.harness;
    const done = supervisor.shutDown(0);
    await clock.advance(1);
    await done;
    this.#bodies.close();
    // The stall timers of streams that were not read to their end.
    await clock.advance(60_000);
    assertEquals([supervisor.size, this.sessions.size, clock.pending], [0, 0, 0], "what is left");
    assertEquals(backends.filter(({ closed }) => !closed).length, 0, "backends that are left");
  }
}

/** The client's requests that a backend got; what the gateway itself says is none. */
export function requestsOf({ received }: FakeBackend): RequestMessage[] {
  return received.flatMap((message) =>
    message.kind === "request" && message.method !== "initialize" ? [message] : []
  );
}

/** The events of a stream that came to its end. */
export async function eventsOf(response: Response): Promise<{ event: string; data: unknown }[]> {
  const text = await response.text();
  return text.split("\n\n").filter((part) => part !== "" && !part.startsWith(":")).map((part) => {
    const [, event, data] = /^event: (.*)\ndata: (.*)$/.exec(part)!;
    return { event: event!, data: JSON.parse(data!) };
  });
}
