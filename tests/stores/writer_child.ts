/**
 * Does one write after the other until it is killed, and says the number of each that is done:
 * `deno run -A writer_child.ts DIR FROM`.
 *
 * @module
 */
import { STORES } from "../../stores/mod.ts";
import { write } from "./writes.ts";

const [dir, from] = Deno.args;
const store = STORES.sqlite({ dir: dir!, tombstones: 100 });
for (let number = Number(from);; number++) {
  write(store, number);
  const line = new TextEncoder().encode(`${number}\n`);
  for (let at = 0; at < line.length;) at += Deno.stdout.writeSync(line.subarray(at));
}
