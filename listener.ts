/**
 * The HTTP server, which goes on where the runtime's stops.
 *
 * `Deno.serve` ends for good when a connection cannot be accepted, above all when the process has as many file handles as
 * the system allows: whoever holds enough idle connections would end the service until somebody starts it again. Here it
 * listens again, at once and then every {@link AGAIN_MS}, until there is room. Connections that are there stay as they are.
 *
 * @module
 */
import type { Cancel, Clock } from "./clock.ts";
import { logger } from "./log.ts";

/** How long to wait before it is tried again, in ms. */
const AGAIN_MS = 200;
/** It is told of so often at most, in ms. */
const TELL_MS = 60_000;

type Handler = (request: Request, info: Deno.ServeHandlerInfo<Deno.NetAddr>) => Response | Promise<Response>;

/** Where to listen, and who answers. */
export interface ListenerOptions {
  readonly clock: Clock;
  readonly hostname: string;
  /** 0 is any that is free; it stays the same one. */
  readonly port: number;
  readonly handler: Handler;
}

const log = logger("http");

/** See the module's documentation. */
export class Listener {
  readonly port: number;
  readonly #options: ListenerOptions;
  #server: Deno.HttpServer<Deno.NetAddr>;
  /** Those that accept no more, and may still have connections. */
  readonly #old = new Set<Deno.HttpServer<Deno.NetAddr>>();
  #toldAt = -Infinity;
  #cancelAgain: Cancel | undefined;
  #closed = false;

  /** @throws Where the address cannot be listened on. */
  constructor(options: ListenerOptions) {
    this.#options = options;
    this.#server = this.#serve(options.port);
    this.port = this.#server.addr.port;
  }

  /** Takes no more connections, and ends when those that there are have ended. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#cancelAgain?.();
    await Promise.all([this.#server, ...this.#old].map((server) => server.shutdown().catch(() => {})));
  }

  #serve(port: number): Deno.HttpServer<Deno.NetAddr> {
    const { hostname, handler } = this.#options;
    const server = Deno.serve({ hostname, port, onListen: () => {} }, handler);
    server.finished.catch((error) => this.#onStopped(server, error));
    return server;
  }

  #onStopped(server: Deno.HttpServer<Deno.NetAddr>, error: unknown): void {
    if (this.#closed) return;
    const now = this.#options.clock.now();
    if (now - this.#toldAt >= TELL_MS) {
      this.#toldAt = now;
      log.warn("No connection can be taken, which is tried again: {why}", {
        why: error instanceof Error ? error.message : String(error),
      });
    }
    this.#old.add(server);
    server.shutdown().catch(() => {}).finally(() => this.#old.delete(server));
    this.#again();
  }

  #again(): void {
    this.#cancelAgain = this.#options.clock.after(AGAIN_MS, () => {
      if (this.#closed) return;
      try {
        this.#server = this.#serve(this.port);
      } catch {
        this.#again();
      }
    });
  }
}
