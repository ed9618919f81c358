/**
 * A source of fake backends that notes what it is told, and has processes of its own where a test wants that.
 *
 * @module
 */
import type { OpenBackend } from "../../backends/backend.ts";
import type { BackendSource } from "../../backends/source.ts";
import { FakeBackend } from "./fake_backend.ts";

/** See the module's documentation. */
export class FakeSource implements BackendSource {
  readonly backends: FakeBackend[] = [];
  readonly ownsProcess = true;
  readonly startsProcess = true;
  /** What it was told, in order. */
  readonly calls: string[] = [];
  spare = 0;
  autoInitialize = true;
  /** Where given, closing takes until it resolves. */
  closing: Promise<void> | undefined;

  readonly open: OpenBackend = (owner, events) => {
    const backend = new FakeBackend(owner, events, { autoInitialize: this.autoInitialize });
    this.backends.push(backend);
    return backend;
  };

  owns(): boolean {
    return false;
  }

  start(): void {
    this.calls.push("start");
  }

  yieldOne(): boolean {
    if (this.spare === 0) return false;
    this.spare--;
    return true;
  }

  retire(): void {
    this.calls.push("retire");
  }

  async close(): Promise<void> {
    this.calls.push("close");
    await this.closing;
    this.spare = 0;
  }
}
