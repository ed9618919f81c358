import { assert, assertEquals, assertThrows } from "@std/assert";
import { DatabaseSync } from "node:sqlite";
import { type DatabaseKind, openDatabase, transact } from "../../stores/database.ts";
import { assertRefused, Folder, MAY_MOUNT, mountTmpfs } from "./helpers.ts";

const STEPS = [
  "CREATE TABLE notes (text TEXT)",
  "ALTER TABLE notes ADD COLUMN at INTEGER NOT NULL DEFAULT 7",
  "CREATE INDEX notes_at ON notes (at)",
];
const KIND: DatabaseKind = { applicationId: 77, holds: "the notes", migrations: STEPS };
const upTo = (count: number): DatabaseKind => ({ ...KIND, migrations: STEPS.slice(0, count) });

function valueOf(database: DatabaseSync, sql: string): unknown {
  return Object.values(database.prepare(sql).get()!)[0];
}

/** A file with some notes, closed. */
function write(path: string, kind = KIND, notes = 3): void {
  using database = openDatabase(path, kind);
  const insert = database.prepare("INSERT INTO notes (text) VALUES (?)");
  transact(database, () => {
    for (let n = 0; n < notes; n++) insert.run(`note ${n} `.repeat(20));
  });
}

Deno.test("A file that is missing is made, for its owner only, in WAL mode", () => {
  using folder = new Folder();
  const path = folder.file("notes.db");
  using database = openDatabase(path, KIND);
  assertEquals(valueOf(database, "PRAGMA journal_mode"), "wal");
  assertEquals(valueOf(database, "PRAGMA synchronous"), 1);
  assertEquals(valueOf(database, "PRAGMA user_version"), 3);
  assertEquals(valueOf(database, "PRAGMA application_id"), 77);
  for (const name of ["notes.db", "notes.db-wal", "notes.db-shm"]) {
    assertEquals((Deno.statSync(folder.file(name)).mode! & 0o777).toString(8), "600", name);
  }
});

Deno.test("A file that others may read is theirs no more once it was opened", () => {
  using folder = new Folder();
  const path = folder.file("notes.db");
  Deno.writeFileSync(path, new Uint8Array(), { mode: 0o644 });
  openDatabase(path, KIND).close();
  assertEquals((Deno.statSync(path).mode! & 0o777).toString(8), "600");
});

for (let from = 0; from <= STEPS.length; from++) {
  Deno.test(`A file of schema ${from} is brought to schema ${STEPS.length} with what it holds`, () => {
    using folder = new Folder();
    const path = folder.file("notes.db");
    if (from > 0) write(path, upTo(from));
    using database = openDatabase(path, KIND);
    assertEquals(valueOf(database, "PRAGMA user_version"), 3);
    assertEquals(valueOf(database, "SELECT count(*) FROM notes WHERE at = 7"), from > 0 ? 3 : 0);
  });
}

Deno.test("A step that fails leaves the schema before it, whole", () => {
  using folder = new Folder();
  const path = folder.file("notes.db");
  write(path, upTo(1));
  const broken = { ...KIND, migrations: [STEPS[0]!, `${STEPS[1]!}; SELECT * FROM nowhere`] };
  assertRefused(() => openDatabase(path, broken), { problem: "io", path, words: ["no such table: nowhere"] });
  using database = openDatabase(path, upTo(1));
  assertEquals(valueOf(database, "SELECT count(*) FROM pragma_table_info('notes')"), 1);
});

Deno.test("What a process wrote before it was killed is there", async () => {
  using folder = new Folder();
  const path = folder.file("notes.db");
  const module = new URL("../../stores/database.ts", import.meta.url);
  const script = `import { openDatabase } from "${module}";
    const database = openDatabase(${JSON.stringify(path)}, ${JSON.stringify(KIND)});
    for (let n = 0; n < 100; n++) database.prepare("INSERT INTO notes (text) VALUES (?)").run("n" + n);
    Deno.kill(Deno.pid, "SIGKILL");`;
  await new Deno.Command(Deno.execPath(), { args: ["eval", script], stderr: "null" }).output();
  assert(Deno.statSync(folder.file("notes.db-wal")).size > 0);
  using database = openDatabase(path, KIND);
  assertEquals(valueOf(database, "SELECT count(*) FROM notes"), 100);
});

// [what is wrong, what is done to a good file, words].
const DAMAGE: [string, (bytes: Uint8Array<ArrayBuffer>) => Uint8Array<ArrayBuffer>][] = [
  ["garbage", (bytes) => crypto.getRandomValues(bytes.slice(0, 8_192))],
  ["a text", () => new TextEncoder().encode("no database at all\n".repeat(100))],
  ["a few bytes", (bytes) => bytes.slice(0, 50)],
  ["half of its first page", (bytes) => bytes.slice(0, 2_000)],
  ["its first half", (bytes) => bytes.slice(0, bytes.length / 2)],
  ["all but its last byte", (bytes) => bytes.slice(0, -1)],
  ["all but its last page", (bytes) => bytes.slice(0, -4_096)],
  ["a page of zeros", (bytes) => bytes.fill(0, 4_096, 8_192)],
  ["a page of ones", (bytes) => bytes.fill(255, 4_096, 8_192)],
];
for (const [what, damage] of DAMAGE) {
  Deno.test(`A file of which there is ${what} is refused and left as it is`, () => {
    using folder = new Folder();
    const path = folder.file("notes.db");
    write(path, KIND, 1_000);
    Deno.writeFileSync(path, damage(Deno.readFileSync(path)));
    const before = folder.content();
    for (let round = 0; round < 2; round++) {
      assertRefused(() => openDatabase(path, KIND), {
        problem: "damaged",
        path,
        words: ["left as it is", "move it away", "-wal and -shm", "to start without the notes"],
      });
    }
    assertEquals(folder.content()["notes.db"], before["notes.db"]);
  });
}

Deno.test("A damaged file whose log was not written back is left as it is, and its log too", async () => {
  using folder = new Folder();
  const path = folder.file("notes.db");
  write(path, KIND, 1_000);
  const script = `import { DatabaseSync } from "node:sqlite";
    new DatabaseSync(${JSON.stringify(path)}).exec("INSERT INTO notes (text) VALUES ('late')");
    Deno.kill(Deno.pid, "SIGKILL");`;
  await new Deno.Command(Deno.execPath(), { args: ["eval", script], stderr: "null" }).output();
  Deno.writeFileSync(path, Deno.readFileSync(path).fill(255, 4_096, 12_288));
  const before = folder.content();
  assert(before["notes.db-wal"]!.length > 0);
  assertRefused(() => openDatabase(path, KIND), { problem: "damaged", path, words: [] });
  const after = folder.content();
  assertEquals([after["notes.db"], after["notes.db-wal"]], [before["notes.db"], before["notes.db-wal"]]);
});

Deno.test("A file that was emptied is refused, and its log left as it is", async () => {
  using folder = new Folder();
  const path = folder.file("notes.db");
  write(path, KIND, 1_000);
  const script = `import { DatabaseSync } from "node:sqlite";
    new DatabaseSync(${JSON.stringify(path)}).exec("INSERT INTO notes (text) VALUES ('late')");
    Deno.kill(Deno.pid, "SIGKILL");`;
  await new Deno.Command(Deno.execPath(), { args: ["eval", script], stderr: "null" }).output();
  Deno.truncateSync(path, 0);
  const before = folder.content();
  const words = ["it is empty, and its log is not", "left as it is"];
  assertRefused(() => openDatabase(path, KIND), { problem: "damaged", path, words });
  assertEquals(folder.content(), before);
});

Deno.test("A file of a later schema is refused, left as it is, and good for the later version", () => {
  using folder = new Folder();
  const path = folder.file("notes.db");
  write(path);
  const before = folder.content();
  assertRefused(() => openDatabase(path, upTo(2)), {
    problem: "newer",
    path,
    words: ["has schema 3", "up to 2", "run the later version"],
  });
  assertEquals(folder.content()["notes.db"], before["notes.db"]);
  openDatabase(path, KIND).close();
});

Deno.test("Another program's database is refused and left as it is", () => {
  using folder = new Folder();
  for (const pragma of ["", "PRAGMA user_version = 1;", "PRAGMA application_id = 78;"]) {
    const path = folder.file(`theirs${pragma.length}.db`);
    using theirs = new DatabaseSync(path);
    theirs.exec(`${pragma} CREATE TABLE addresses (name TEXT)`);
    theirs.close();
    const before = folder.content();
    assertRefused(() => openDatabase(path, KIND), {
      problem: "foreign",
      path,
      words: ["something else", "left as it is"],
    });
    assertEquals(folder.content(), before);
  }
});

Deno.test("A folder in the file's place is refused", () => {
  using folder = new Folder();
  const path = folder.file("notes.db");
  Deno.mkdirSync(path);
  assertRefused(() => openDatabase(path, KIND), {
    problem: "misplaced",
    path,
    words: ["move away what is there"],
  });
});

Deno.test("A file that another program holds is waited for, not for long, and refused", () => {
  using folder = new Folder();
  const path = folder.file("notes.db");
  write(path, upTo(1));
  using other = new DatabaseSync(path);
  other.exec("BEGIN IMMEDIATE");
  assertRefused(() => openDatabase(path, KIND), {
    problem: "busy",
    path,
    words: ["another program", "locked"],
  });
  other.exec("ROLLBACK");
  openDatabase(path, KIND).close();
});

Deno.test({
  name: "A read-only file system is refused with what to do",
  ignore: !MAY_MOUNT,
  fn: () => {
    using folder = new Folder();
    const path = folder.file("mounted/notes.db");
    using _mounted = mountTmpfs(folder.file("mounted"), "ro,size=1m");
    assertRefused(() => openDatabase(path, KIND), {
      problem: "notWritable",
      path,
      words: ["Read-only file system", "DATA_DIR"],
    });
  },
});

Deno.test({
  name: "A full disk is refused at the opening with what to do, and the same file opens once there is room",
  ignore: !MAY_MOUNT,
  fn: () => {
    using folder = new Folder();
    const path = folder.file("mounted/notes.db");
    using _mounted = mountTmpfs(folder.file("mounted"), "size=64k");
    const filler = folder.file("mounted/filler");
    const fill = (bytes: number) => {
      using file = Deno.openSync(filler, { write: true, create: true, truncate: true });
      try {
        for (let at = 0; at < bytes; at += 4_096) file.writeSync(new Uint8Array(4_096));
      } catch {
        // That is what it is for.
      }
    };
    for (const left of [0, 8_192, 16_384, 40_960]) {
      fill(65_536 - left);
      assertRefused(() => openDatabase(path, KIND), { problem: "full", path, words: ["make some"] });
    }
    Deno.removeSync(filler);
    using database = openDatabase(path, KIND);
    assertEquals(valueOf(database, "SELECT count(*) FROM notes"), 0);
  },
});

Deno.test("A transaction that throws changes nothing, and the next one can begin", () => {
  using folder = new Folder();
  using database = openDatabase(folder.file("notes.db"), KIND);
  const insert = database.prepare("INSERT INTO notes (text) VALUES (?)");
  const failing = () =>
    transact(database, () => {
      insert.run("lost");
      throw new RangeError("no");
    });
  assertThrows(failing, RangeError, "no");
  assertEquals(transact(database, () => insert.run("kept").changes), 1);
  assertEquals(valueOf(database, "SELECT group_concat(text) FROM notes"), "kept");
});
