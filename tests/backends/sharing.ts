/**
 * Sessions that share fakes.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { SharedSource } from "../../backends/shared.ts";
import type { SourceOptions } from "../../backends/source.ts";
import { SpawnGate } from "../../backends/spawn_gate.ts";
import type { Message, RequestId } from "../../protocol/jsonrpc.ts";
import type { FakeBackend } from "../fakes/fake_backend.ts";
import { FakeClock, settle } from "../fakes/fake_clock.ts";
import { FakeChildren, Listener } from "./pool_harness.ts";

/** A source of fakes. `await using` closes it and checks that nothing of it is left. */
export class Sharing implements AsyncDisposable {
  readonly clock = new FakeClock();
  readonly children = new FakeChildren();
  readonly gate = new SpawnGate({ concurrency: 4, clock: this.clock });
  readonly source: SharedSource;
  readonly listeners: Listener[] = [];

  constructor(shared = 1, options: Partial<SourceOptions> = {}) {
    this.source = new SharedSource({
      serverId: "fake",
      open: this.children.open,
      gate: this.gate,
      clock: this.clock,
      startTimeoutMs: 60_000,
      shared,
      ...options,
    });
  }

  /** Opens a session, and has it initialized. */
  async session(): Promise<Listener> {
    const session = this.listen();
    session.initialize();
    session.confirm();
    await settle();
    assertEquals(session.messages.length, 1);
    session.messages.length = 0;
    return session;
  }

  listen(): Listener {
    const listener = new Listener(this.source, `s${this.listeners.length + 1}`);
    this.listeners.push(listener);
    return listener;
  }

  get child(): FakeBackend {
    return this.children.newest;
  }

  /** What reached the child after its own handshake. */
  get received(): Message[] {
    return this.child.received.slice(2);
  }

  /** The id under which the newest request reached the child. */
  get lastId(): RequestId {
    const last = this.received.findLast(({ kind }) => kind === "request");
    assert(last?.kind === "request");
    return last.id;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.listeners.map((listener) => listener.close()));
    await this.source.close();
    assertEquals([this.source.spare, this.children.running.length], [0, 0]);
    assertEquals([this.gate.starting, this.gate.waiting, this.clock.pending], [0, 0, 0]);
    for (const { exits } of this.listeners) assertEquals(exits.length, 1);
  }
}

/** The texts of messages, without what all of them begin with. */
export function texts(messages: readonly Message[]): string[] {
  return messages.map(({ text }) => text.replace('"jsonrpc":"2.0",', ""));
}
