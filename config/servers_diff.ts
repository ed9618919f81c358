/**
 * What differs between two readings of the servers file, without any value: those may be secrets.
 *
 * @module
 */
import { type Path, pathText } from "./jsonc.ts";
import type { ServerConfig, ServersDiff } from "./types.ts";

const ENTRY: Path = ["mcpServers", "server"];

/** What differs for those who use the servers. Their order in the file does not. */
export function diffServers(before: readonly ServerConfig[], after: readonly ServerConfig[]): ServersDiff {
  const old = new Map(before.filter(isServed).map((server) => [server.id, server]));
  const served = after.filter(isServed);
  const ids = new Set(served.map(({ id }) => id));
  const changed = served.flatMap((server) => {
    const known = old.get(server.id);
    const keys = known === undefined ? [] : changedKeys(known, server);
    return keys.length === 0 ? [] : [{ id: server.id, keys }];
  });
  const added = served.filter(({ id }) => !old.has(id)).map(({ id }) => id);
  return {
    added,
    removed: Array.from(old.keys()).filter((id) => !ids.has(id)),
    changed,
    unchanged: served.length - added.length - changed.length,
  };
}

/** Whether nothing has an effect. */
export function isEmpty({ added, removed, changed }: ServersDiff): boolean {
  return added.length + removed.length + changed.length === 0;
}

/** Whether a change of this key is one of where a server's processes come from, and not only of its limits. */
export function isOfBackend(key: string): boolean {
  return key !== "stateful" && !key.startsWith("session.");
}

function isServed({ disabled }: ServerConfig): boolean {
  return !disabled;
}

function changedKeys(before: ServerConfig, after: ServerConfig): string[] {
  const [old, now] = [partsOf(before), partsOf(after)];
  return Array.from(new Set([...old.keys(), ...now.keys()]))
    .filter((key) => old.get(key) !== now.get(key)).sort();
}

/** A place in an entry, as the rest of the configuration names it: what may be a secret in a name is not shown. */
function keyOf(path: Path): string {
  return pathText([...ENTRY, ...path]).slice(pathText(ENTRY).length + 1);
}

/** All that an entry sets, by its key. */
function partsOf(server: ServerConfig): Map<string, string> {
  const { id: _id, disabled: _disabled, transport, session, ...more } = server;
  const parts = new Map<string, string>();
  const add = (prefix: Path, values: object) => {
    for (const [name, value] of Object.entries(values)) {
      if (value !== undefined) parts.set(keyOf([...prefix, name]), JSON.stringify(value));
    }
  };
  const { env, headers, ...rest } = { env: {}, headers: {}, ...transport };
  add([], { ...rest, ...more });
  add(["env"], env);
  add(["headers"], headers);
  add(["session"], session);
  return parts;
}
