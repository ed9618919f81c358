import { assertEquals } from "@std/assert";
import { Records } from "../../actors/records.ts";
import { MemoryStore } from "../../stores/memory.ts";
import { StoreError } from "../../stores/store_error.ts";
import { FakeClock } from "../fakes/fake_clock.ts";
import { Harness } from "../fakes/harness.ts";

class FullStore extends MemoryStore {
  full = true;

  override end(...args: Parameters<MemoryStore["end"]>): void {
    if (this.full) throw new StoreError("full", "sessions.db", "cannot be written");
    super.end(...args);
  }
}

Deno.test("Openings that are refused while nothing can be written down do not pile up, and ends do", async () => {
  const harness = new Harness();
  const { session } = await harness.open();
  await session.end("client_delete");
  const tombstone = session.tombstone();
  await harness.supervisor.shutDown(0);

  const clock = new FakeClock();
  const store = new FullStore({ tombstones: 10 });
  const records = new Records({ store, clock });
  for (let n = 0; n < 1_000; n++) records.lost(0, { ...tombstone, handle: `r${n}` }, { later: false });
  assertEquals(records.waiting, 1);
  for (const key of [1, 2]) records.lost(key, { ...tombstone, handle: `e${key}` }, { later: false });
  assertEquals(records.waiting, 3);
  store.full = false;
  await clock.advance(1_000);
  assertEquals([records.waiting, records.trouble], [0, undefined]);
  assertEquals(store.tombstones(10).map(({ handle }) => handle), ["r0", "e1", "e2"]);
  records.close();
});
