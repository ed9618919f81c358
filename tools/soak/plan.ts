/**
 * Which lives a soak is made of: which server each client meets, and how it leaves. By chance, which is the same for the
 * same seed; who is quicker than whom is not in it.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { MARKER } from "./machine.ts";

/** How a server behaves; `tests/fixtures/tiny_server.sh` says what each means. And how many lives in 1,000 meet it. */
const BEHAVIOURS = {
  echo: 600,
  crash: 80,
  exit: 20,
  mute: 20,
  hang: 100,
  deaf: 20,
  fork: 30,
  stderr: 50,
  garbage: 50,
  flood: 30,
} as const;
export type Behaviour = keyof typeof BEHAVIOURS;

/** How a client leaves, and how many in 1,000 do so; those that met `flood` are all frozen. */
const LEAVINGS = {
  /** In good order. */
  delete: 10,
  /** Without a word, nothing in flight. */
  leave: 300,
  /** The same by RST. */
  resetIdle: 130,
  /** With its standalone stream open, of which it reads what comes and answers nothing. */
  stream: 60,
  /** In the middle of a call. */
  cut: 230,
  /** The same by RST. */
  reset: 220,
  /** Half of a request is sent. */
  half: 50,
  /** It asks for very much, reads none of it, and hangs up some seconds later. */
  frozen: 0,
} as const;
export type Leaving = keyof typeof LEAVINGS;

/** Those who leave with a request on its way. */
export const MID_REQUEST: readonly Leaving[] = ["cut", "reset", "half", "frozen"];

/** Servers that die: each has so many entries, since one entry would be in quarantine nearly all the time. */
const DYING: readonly Behaviour[] = ["crash", "exit", "mute"];
const ENTRIES_OF_DYING = 60;

/** Calls that are answered before the client leaves, at most. */
const MAX_CALLS = 2;
/** How long a client waits for an answer before it leaves without, at most, in ms. */
const MAX_PATIENCE_MS = 150;

/** One client from its first word to its last. */
export interface Life {
  readonly serverId: string;
  readonly behaviour: Behaviour;
  readonly calls: number;
  readonly leaving: Leaving;
  readonly patienceMs: number;
}

/** The servers file. */
export function serversFile(marker: string): Record<string, unknown> {
  const script = fileURLToPath(new URL("../../tests/fixtures/tiny_server.sh", import.meta.url));
  const entries = Object.keys(BEHAVIOURS).flatMap((name) => {
    const behaviour = name as Behaviour;
    const entry = { command: "sh", args: [script, behaviour], env: { [MARKER]: marker } };
    return serverIdsOf(behaviour).map((serverId) => [serverId, entry]);
  });
  return { mcpServers: Object.fromEntries(entries) };
}

function serverIdsOf(behaviour: Behaviour): string[] {
  if (!DYING.includes(behaviour)) return [behaviour];
  return Array.from({ length: ENTRIES_OF_DYING }, (_, n) => `${behaviour}${n}`);
}

/** Lives without end. */
export function* lives(seed: number): Generator<Life, never> {
  const random = randomOf(seed);
  for (;;) {
    const behaviour = pick(BEHAVIOURS, random);
    const serverIds = serverIdsOf(behaviour);
    const serverId = serverIds[Math.floor(random() * serverIds.length)]!;
    const leaving = pick(LEAVINGS, random);
    yield {
      serverId,
      behaviour,
      calls: Math.floor(random() * (MAX_CALLS + 1)),
      leaving: behaviour === "flood" ? "frozen" : leaving,
      patienceMs: Math.floor(random() * MAX_PATIENCE_MS),
    };
  }
}

function pick<Name extends string>(weights: Readonly<Record<Name, number>>, random: () => number): Name {
  const names = Object.keys(weights) as Name[];
  const total = names.reduce((sum, name) => sum + weights[name], 0);
  let left = random() * total;
  return names.find((name) => (left -= weights[name]) < 0) ?? names[0]!;
}

/** Numbers from 0 to 1 (mulberry32). */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = state + 0x6d2b79f5 | 0;
    let mixed = Math.imul(state ^ state >>> 15, 1 | state);
    mixed = mixed + Math.imul(mixed ^ mixed >>> 7, 61 | mixed) ^ mixed;
    return ((mixed ^ mixed >>> 14) >>> 0) / 4_294_967_296;
  };
}
