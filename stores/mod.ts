/**
 * Every session store by its name. A new one is a file that keeps the contract of `store.ts` and a line here; the
 * compiler then asks for its name among `SESSION_STORES`, and the conformance suite tests it.
 *
 * @module
 */
import { join } from "node:path";
import type { SessionStoreName } from "../config/types.ts";
import { MemoryStore } from "./memory.ts";
import { SqliteStore } from "./sqlite.ts";
import { SESSIONS_FILE } from "./sqlite_schema.ts";
import type { SessionStore } from "./store.ts";

/** How to open any session store. */
export interface OpenOptions {
  /** The data folder; it is there. A store that is not durable writes nothing to it. */
  readonly dir: string;
  /** How many tombstones are kept; 0 keeps none. */
  readonly tombstones: number;
}

/** Each throws `StoreError` where it cannot be opened. */
export const STORES: Readonly<Record<SessionStoreName, (options: OpenOptions) => SessionStore>> = {
  memory: ({ tombstones }) => new MemoryStore({ tombstones }),
  sqlite: ({ dir, tombstones }) => new SqliteStore({ path: join(dir, SESSIONS_FILE), tombstones }),
};
