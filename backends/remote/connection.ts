/**
 * One client's session at a server elsewhere, over as many wires as it takes: where the server forgot it, it is opened
 * again with the client's own `initialize`, and the message that met it is sent once more.
 *
 * A server forgets a session by answering 404 to it, or by ending the stream that it lives on. In the first case the
 * message at hand was not taken; in the second nobody knows, and nothing is sent again. A server that is not what the
 * client was told any more is {@link ConnectionEvents.changed}.
 *
 * @module
 */
import type { Clock } from "../../clock.ts";
import type { RemoteServer } from "../../config/types.ts";
import { logger } from "../../log.ts";
import {
  type Message,
  parseMessage,
  type RequestMessage,
  type ResponseMessage,
} from "../../protocol/jsonrpc.ts";
import { BackOff } from "../back_off.ts";
import type { BackendOwner } from "../backend.ts";
import { silent } from "./body.ts";
import { Greeting, versionOf } from "./greeting.ts";
import { Parcel } from "./parcel.ts";
import { loadWire, type MakeWire } from "./transports.ts";
import { Upstream } from "./upstream.ts";
import { connectionError, UpstreamError } from "./upstream_error.ts";
import { Standing, stands } from "./standing.ts";
import { type Gate, joined, sleep, type Tasks } from "./waiting.ts";
import type { Wire } from "./wire.ts";

const log = logger("backend");

/** What is reported to the backend. */
export interface ConnectionEvents {
  /** The server sent something: JSON, one message or a batch, unless it is garbage. */
  text(text: string, take: (message: Message) => void): void;
  /** One message of it, for the client. */
  message(message: Message): void;
  /** It sent a message over the bound. */
  overlong(): void;
  /** It forgot the session and is not what it was. */
  changed(detail: string): void;
}

/** How to make a {@link Connection}. */
export interface ConnectionOptions {
  readonly server: RemoteServer;
  readonly clock: Clock;
  readonly owner: BackendOwner;
  readonly events: ConnectionEvents;
  readonly gate: Gate;
  readonly maxBytes: number;
  /** Where what goes on by itself is counted. */
  readonly tasks: Tasks;
  /** Aborts when nothing is to be done any more but to end the session. */
  readonly over: AbortSignal;
}

/** See the module's documentation. */
export class Connection {
  readonly #options: ConnectionOptions;
  /** Made with the first wire. */
  #upstream: Upstream | undefined;
  /** How the session was opened; undefined until the first message. */
  #greeting: Greeting | undefined;
  readonly #standing = new Standing();
  #wire: Wire | undefined;
  #openedAt = -Infinity;
  /** Whether the wire's session is gone with its stream. */
  #isLost = false;
  /** Set while the session is opened again. */
  #renewal: Promise<Wire> | undefined;
  readonly #backOff = new BackOff();
  /** Wires that were opened while the end had come: their sessions are to be ended too. */
  readonly #abandoned: Wire[] = [];

  constructor(options: ConnectionOptions) {
    this.#options = options;
  }

  /** Resolves when the session is not being opened again. */
  async steady(): Promise<void> {
    while (this.#renewal !== undefined) await this.#renewal.catch(() => {});
  }

  /**
   * Sends a message: see {@link Wire.post}.
   *
   * @throws {UpstreamError} Where it was not answered.
   */
  async post(parcel: Parcel): Promise<void> {
    if (parcel.kind === "initialize") this.#greeting ??= new Greeting(parcel.message as RequestMessage);
    const wire = await this.#ready();
    try {
      await wire.post(parcel);
    } catch (error) {
      // Where the server knows no session, it did not take the message.
      const isForgotten = error instanceof UpstreamError && error.trouble === "session";
      if (!isForgotten || this.#greeting?.isAgreed !== true || parcel.cancelled) throw error;
      if (this.#options.over.aborted) throw error;
      await (await this.#renewed(wire)).post(parcel);
    }
    if (parcel.method !== "notifications/initialized") return;
    // Now the server may speak of its own accord.
    if (this.#greeting !== undefined) this.#greeting.confirmation = parcel.text;
    this.#wire?.listen();
  }

  /** The server answered a request of the client's. */
  onAnswered({ kind, message }: Parcel, answer: ResponseMessage): void {
    if (answer.result === undefined) return;
    if (stands(message)) this.#standing.done(message);
    if (kind !== "initialize") return;
    const version = this.#greeting?.onAnswer(answer);
    if (version !== undefined) this.#wire?.agreed(version);
  }

  /** Reads nothing more, and sends nothing but the end of the session. */
  stop(): void {
    this.#wire?.stop();
  }

  /** See {@link Wire.terminate}. */
  async terminate(signal: AbortSignal): Promise<void> {
    await Promise.all(this.#wires.map((wire) => wire.terminate(signal)));
  }

  /** Lets go of everything, once nothing of it goes on. */
  async close(): Promise<void> {
    await Promise.all(this.#wires.map((wire) => wire.close()));
    this.#upstream?.close();
  }

  get #wires(): Wire[] {
    return this.#wire === undefined ? this.#abandoned : [this.#wire, ...this.#abandoned];
  }

  async #ready(): Promise<Wire> {
    if (this.#wire !== undefined) return this.#isLost ? await this.#renewed(this.#wire) : this.#wire;
    const { clock, events } = this.#options;
    const wire = await this.#make((message) => events.message(message));
    this.#wire = wire;
    if (this.#options.over.aborted) wire.stop();
    this.#openedAt = clock.now();
    await wire.open();
    return wire;
  }

  /** A wire that is not open. @throws {UpstreamError} */
  async #make(take: (message: Message) => void): Promise<Wire> {
    const { server, clock, events, gate, maxBytes, owner } = this.#options;
    let makeWire: MakeWire;
    try {
      makeWire = await loadWire(server.type);
      this.#upstream ??= new Upstream({ server, clock, forwarded: owner.forwarded ?? {} });
    } catch (error) {
      throw connectionError(error);
    }
    const wire: Wire = makeWire({
      upstream: this.#upstream,
      clock,
      rules: { clock, gate, maxBytes, readTimeoutMs: server.readTimeoutMs },
      events: {
        text: (text) => events.text(text, take),
        overlong: () => events.overlong(),
        lost: () => {
          if (wire === this.#wire) this.#onLost(wire);
        },
      },
    });
    return wire;
  }

  /** Another wire in the place of one whose session the server forgot. */
  async #renewed(old: Wire): Promise<Wire> {
    if (this.#wire !== undefined && this.#wire !== old) return this.#wire;
    this.#renewal ??= this.#renew(old).finally(() => this.#renewal = undefined);
    return await this.#renewal;
  }

  async #renew(old: Wire): Promise<Wire> {
    const { server, clock, over, events } = this.#options;
    const greeting = this.#greeting!;
    log.info("Session {handle}: server {serverId} forgot its session, opening it again", this.#names);
    const parcel = new Parcel(greeting.request);
    /** What the gateway asks in the client's place. */
    const own = new Map([[greeting.id, parcel]]);
    let answer: ResponseMessage | undefined;
    const wire = await this.#make((message) => {
      const asked = message.kind === "response" && message.id !== null ? own.get(message.id) : undefined;
      if (message.kind !== "response" || asked === undefined) return events.message(message);
      own.delete(message.id!);
      if (asked === parcel) answer = message;
      asked.answer();
    });
    // Nobody watches over this handshake but we.
    const ends = joined(over);
    ends.signal.addEventListener("abort", () => wire.stop());
    let isLate = false;
    const cancel = clock.after(server.readTimeoutMs, () => {
      isLate = true;
      ends.abort();
    });
    if (over.aborted) wire.stop();
    try {
      await wire.open();
      await wire.post(parcel);
      const changed = greeting.changed(answer!);
      if (changed !== undefined) {
        events.changed(`forgot its session, and ${changed}`);
        throw new UpstreamError("closed", changed);
      }
      const version = versionOf(answer!.result);
      if (version !== undefined) wire.agreed(version);
      if (greeting.confirmation !== undefined) {
        await wire.post(new Parcel(parseMessage(greeting.confirmation) as Message));
      }
      const again = this.#standing.requests().map((request) => new Parcel(request));
      for (const asked of again) own.set(asked.id!, asked);
      await Promise.all(again.map((asked) => wire.post(asked)));
    } catch (error) {
      if (over.aborted) this.#abandoned.push(wire);
      else await wire.terminate(over).then(() => wire.close());
      const why = isLate ? silent(server.readTimeoutMs) : connectionError(error);
      throw new UpstreamError(
        "status",
        `forgot its session, and when asked to open it again it ${why.message}`,
      );
    } finally {
      cancel();
      ends.end();
    }
    this.#wire = wire;
    this.#isLost = false;
    this.#openedAt = clock.now();
    if (over.aborted) wire.stop();
    else if (greeting.confirmation !== undefined) wire.listen();
    old.retire();
    return wire;
  }

  /** The stream is gone that the session lived on. To hear what the server says unasked takes another one. */
  #onLost(lost: Wire): void {
    const { clock, over, tasks } = this.#options;
    if (over.aborted || this.#greeting?.isAgreed !== true) return;
    this.#isLost = true;
    tasks.run(async () => {
      let startedAt = this.#openedAt;
      while (this.#wire === lost && !over.aborted) {
        this.#backOff.ended(startedAt, clock.now());
        await sleep(clock, Math.max(0, this.#backOff.until - clock.now()), over);
        if (this.#wire !== lost || over.aborted) return;
        startedAt = clock.now();
        await this.#renewed(lost).catch((error) => {
          log.debug("Session {handle}: server {serverId} {why}", { ...this.#names, why: error.message });
        });
      }
    });
  }

  get #names() {
    const { owner } = this.#options;
    return { handle: owner.session, serverId: owner.serverId };
  }
}
