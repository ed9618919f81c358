/**
 * Writes to a session store, and to a model of it, until the system refuses to let a file grow; then goes on once it may:
 * `sh -c 'trap "" XFSZ; exec deno run -A limited_child.ts DIR'`. Says what was told of it, or fails.
 *
 * @module
 */
import { assertEquals, assertThrows } from "@std/assert";
import { STORES } from "../../stores/mod.ts";
import { StoreError } from "../../stores/store_error.ts";
import { Model } from "./model.ts";
import { contentOf } from "./sessions.ts";
import { lastContentOf, write } from "./writes.ts";

const LIMIT_BYTES = 300_000;

function limit(bytes: number | "unlimited"): void {
  const args = ["--pid", `${Deno.pid}`, `--fsize=${bytes}:unlimited`];
  if (!new Deno.Command("prlimit", { args }).outputSync().success) throw new Error("No prlimit");
}

const open = () => STORES.sqlite({ dir: Deno.args[0]!, tombstones: 100 });
const model = new Model({ tombstones: 100 });
let store = open();
let number = 0;
/** @returns Whether the store did it; else the model did not either. */
function next(): boolean {
  try {
    write(store, number);
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    return false;
  }
  write(model, number++);
  return true;
}

limit(LIMIT_BYTES);
while (next());
for (let again = 0; again < 3; again++) {
  const { message } = assertThrows(() => write(store, number), StoreError);
  // deno-lint-ignore no-console
  if (again === 0) console.log(message);
  assertEquals(contentOf(store), contentOf(model));
}
limit("unlimited");
const last = number + 500;
while (number < last) assertEquals(next(), true);
assertEquals(contentOf(store), contentOf(model));
store.close();
store = open();
assertEquals(lastContentOf(store), lastContentOf(model));
store.close();
