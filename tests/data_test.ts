import { assert, assertEquals, assertThrows } from "@std/assert";
import { ProcessTable } from "../backends/process_table.ts";
import { systemClock } from "../clock.ts";
import { openData, ownedBy } from "../data.ts";
import { LEDGER_FILE } from "../stores/ledger.ts";
import { StoreError } from "../stores/store_error.ts";
import { Folder } from "./stores/helpers.ts";

const parts = { clock: systemClock, processes: new ProcessTable({ clock: systemClock }) };

Deno.test("A folder whose ledger cannot be opened is let go again", async () => {
  using folder = new Folder();
  Deno.writeTextFileSync(folder.file(LEDGER_FILE), "nonsense ".repeat(100));
  assertThrows(
    () => openData({ dataDir: folder.path, sessionStore: "memory", tombstones: 1 }, parts),
    StoreError,
    "is damaged",
  );
  Deno.removeSync(folder.file(LEDGER_FILE));
  const { dir, ledger } = openData({ dataDir: folder.path, sessionStore: "memory", tombstones: 1 }, parts);
  assertEquals(dir.path, folder.path);
  await ledger.close();
  dir[Symbol.dispose]();
});

Deno.test("Children of living sessions have an owner, and those that no session has", () => {
  const isOwned = ownedBy({ byHandle: (handle) => handle === "3f9a1c0be27d" ? {} : undefined });
  const owned = (session: string) => isOwned({ serverId: "files", session });
  assert(owned("3f9a1c0be27d"));
  assert(!owned("000000000000"));
  assert(owned("prewarmed-1"));
  assert(owned("shared-12"));
});
