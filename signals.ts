/**
 * Which signals end the gateway, and which of them are one and the same.
 *
 * @module
 */
import type { Clock } from "./clock.ts";

/**
 * A signal that comes again within this time is the same one: under `deno task` a terminal's Ctrl-C arrives twice.
 * In ms.
 */
const SAME_SIGNAL_MS = 1_000;

/** How to react to signals. */
export interface ShutdownSignalOptions {
  readonly clock: Clock;
  /** The first one, by name. Called once. */
  readonly onFirst: (signal: Deno.Signal) => void;
  /** Each later one that is not the same as the one before. */
  readonly onSecond: (signal: Deno.Signal) => void;
  /** SIGHUP, where there is no terminal that could have gone away. */
  readonly onReload: () => void;
  /** Whether the process was started from a terminal, whose end it then shares. */
  readonly hasTerminal?: boolean;
}

/**
 * Listens for SIGTERM, SIGINT and SIGHUP. SIGHUP says that the terminal went away; without one (a service) it
 * asks to read the configuration again.
 *
 * @returns Stops listening.
 */
export function onShutdownSignal(
  { clock, onFirst, onSecond, onReload, hasTerminal = startedFromTerminal() }: ShutdownSignalOptions,
): () => void {
  let lastAt: number | undefined;
  const onEnd = (signal: Deno.Signal) => {
    const now = clock.now();
    const same = lastAt !== undefined && now - lastAt < SAME_SIGNAL_MS;
    const first = lastAt === undefined;
    lastAt = now;
    if (first) onFirst(signal);
    else if (!same) onSecond(signal);
  };
  const listeners: [Deno.Signal, () => void][] = [
    ["SIGTERM", () => onEnd("SIGTERM")],
    ["SIGINT", () => onEnd("SIGINT")],
    [
      "SIGHUP",
      () => hasTerminal ? onEnd("SIGHUP") : onReload(),
    ],
  ];
  for (const [signal, listener] of listeners) Deno.addSignalListener(signal, listener);
  return () => {
    for (const [signal, listener] of listeners) Deno.removeSignalListener(signal, listener);
  };
}

function startedFromTerminal(): boolean {
  return Deno.stdin.isTerminal() || Deno.stdout.isTerminal() || Deno.stderr.isTerminal();
}
