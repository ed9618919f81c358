/**
 * Whether a server that is started anew is the one that a client knows: it must have told the client the same.
 *
 * @module
 */
import type { Params } from "../protocol/jsonrpc.ts";

/** What a session needs so that another backend can take its server's place. */
export interface Remembered {
  /** The client's params of `initialize`. */
  readonly params: Params;
  /** What the server answered. */
  readonly result: Params;
}

/** The longest part of a difference that is told. */
const MAX_CHARS = 200;

/**
 * Compares answers to `initialize` in what a client relies on: protocol version, the server's name, capabilities.
 *
 * @returns What differs, for people; undefined where nothing does.
 */
export function differenceOf(before: Params, now: Params): string | undefined {
  const parts: [name: string, before: unknown, now: unknown][] = [
    ["protocol version", before.protocolVersion, now.protocolVersion],
    ["name", nameOf(before), nameOf(now)],
    ["capabilities", before.capabilities ?? {}, now.capabilities ?? {}],
  ];
  for (const [name, then, since] of parts) {
    const [told, telling] = [canonical(then), canonical(since)];
    if (told !== telling) return `has another ${name} than before: ${clip(telling)} instead of ${clip(told)}`;
  }
  return undefined;
}

function nameOf({ serverInfo }: Params): unknown {
  return typeof serverInfo === "object" && serverInfo !== null && "name" in serverInfo
    ? serverInfo.name
    : undefined;
}

/** JSON with the keys of objects in order. */
function canonical(value: unknown): string {
  return JSON.stringify(
    value,
    (_key, part) =>
      typeof part === "object" && part !== null && !Array.isArray(part)
        ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => a < b ? -1 : 1))
        : part,
  ) ?? "none";
}

function clip(text: string): string {
  return text.length <= MAX_CHARS ? text : `${text.slice(0, MAX_CHARS)}…`;
}
