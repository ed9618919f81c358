import { assertEquals, assertNotEquals } from "@std/assert";
import { DatabaseSync } from "node:sqlite";
import { LEDGER, SqliteLedger } from "../../stores/ledger.ts";
import type { ProcessInfo } from "../../stores/process_rows.ts";
import { assertRefused, Folder, MAY_MOUNT, mountTmpfs } from "./helpers.ts";

const CHILD: ProcessInfo = {
  pid: 10,
  pgrp: 10,
  startTime: 123_456_789,
  marker: "run/1",
  serverId: "files",
  session: "3f9a1c0be27d",
  startedAt: 1_700_000_000_000.25,
};

function open(folder: Folder, boot: string | undefined): SqliteLedger {
  return new SqliteLedger({ path: folder.file("processes.db"), boot, startedAt: 1_700_000_000_000.5 });
}

Deno.test("What a run wrote is there in the next one, and nothing of the next one's own", () => {
  using folder = new Folder();
  const first = open(folder, "boot 1");
  assertEquals(first.earlier(), { runs: [], rows: [] });
  const one = first.add(CHILD);
  const two = first.add({ ...CHILD, pid: 11, startTime: undefined });
  first.close();

  const second = open(folder, "boot 1");
  second.add({ ...CHILD, pid: 12 });
  assertNotEquals(second.run.name, first.run.name);
  const row = { ...CHILD, startedAt: 1_700_000_000_000, runId: first.run.id };
  assertEquals(second.earlier(), {
    runs: [first.run],
    rows: [{ ...row, id: one }, { ...row, id: two, pid: 11, startTime: undefined }],
  });
  second.close();
});

Deno.test("Rows are renamed and removed by their places; those that are not there do not matter", () => {
  using folder = new Folder();
  const first = open(folder, undefined);
  const [one, two, three, four] = [1, 2, 3, 4].map((pid) => first.add({ ...CHILD, pid }));
  first.rename(new Map([[one!, "a"], [999, "b"]]));
  first.remove([]);
  first.remove([two!]);
  first.remove([three!, 999]);
  first.close();
  first.close();
  const second = open(folder, "boot 1");
  const { runs, rows } = second.earlier();
  assertEquals(runs.map(({ boot }) => boot), [undefined]);
  assertEquals(rows.map(({ id, session }) => [id, session]), [[one, "a"], [four, CHILD.session]]);
  second.close();
});

Deno.test("A run is forgotten with all that it left, and with nothing of any other", () => {
  using folder = new Folder();
  const runs = ["a", "b"].map((boot) => {
    const ledger = open(folder, boot);
    ledger.add(CHILD);
    ledger.close();
    return ledger.run;
  });
  const third = open(folder, "boot 1");
  third.forget([runs[0]!.id]);
  third.forget([]);
  assertEquals(third.earlier().runs, [runs[1]]);
  assertEquals(third.earlier().rows.map(({ runId }) => runId), [runs[1]!.id]);
  third.close();
});

Deno.test({
  name: "A disk that fills up fails each write as a whole, and takes them again once there is room",
  ignore: !MAY_MOUNT,
  fn: () => {
    using folder = new Folder();
    using _mounted = mountTmpfs(folder.file("mounted"), "size=1m");
    const path = folder.file("mounted/processes.db");
    const ledger = new SqliteLedger({ path, boot: undefined, startedAt: 0 });
    const filler = folder.file("mounted/filler");
    const ids = [ledger.add(CHILD), ledger.add(CHILD)];
    try {
      Deno.writeFileSync(filler, new Uint8Array(2 * 1024 * 1024));
    } catch {
      // That is what it is for.
    }
    const full = { problem: "full", path, words: ["no space is left"] } as const;
    for (let round = 0; round < 3; round++) {
      // What fits into pages that are there already may still be written.
      assertRefused(() => {
        for (let n = 0; n < 1_000; n++) ids.push(ledger.add(CHILD));
      }, full);
    }
    Deno.removeSync(filler);
    ids.push(ledger.add(CHILD));
    ledger.remove(ids.slice(0, 1));
    ledger.close();
    using database = new DatabaseSync(path, { readOnly: true });
    assertEquals(database.prepare("SELECT count(*) AS n FROM processes").get()!.n, ids.length - 1);
    assertEquals(database.prepare("PRAGMA integrity_check").get()!.integrity_check, "ok");
  },
});

Deno.test("A ledger of a later version is refused", () => {
  using folder = new Folder();
  open(folder, "boot 1").close();
  const path = folder.file("processes.db");
  using database = new DatabaseSync(path);
  database.exec(`PRAGMA user_version = ${LEDGER.migrations.length + 1}`);
  database.close();
  assertRefused(() => open(folder, "boot 1"), {
    problem: "newer",
    path,
    words: ["an earlier run may have left"],
  });
});
