import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { DataDir } from "../../stores/data_dir.ts";
import { assertRefused, Folder, MAY_MOUNT, mountTmpfs } from "./helpers.ts";

Deno.test("A folder that is missing is made with all above it, for its owner only", () => {
  using folder = new Folder();
  using dir = new DataDir(folder.file("a/b"));
  assertEquals(dir.path, folder.file("a/b"));
  assertEquals(dir.file("x.db"), folder.file("a/b/x.db"));
  for (const path of ["a", "a/b"]) {
    assertEquals((Deno.statSync(folder.file(path)).mode! & 0o777).toString(8), "700");
  }
});

Deno.test("A folder that is there keeps its mode and its files", () => {
  using folder = new Folder();
  const path = folder.file("data");
  Deno.mkdirSync(path, { mode: 0o750 });
  Deno.writeTextFileSync(join(path, "mine"), "mine");
  using _dir = new DataDir(path);
  assertEquals((Deno.statSync(path).mode! & 0o777).toString(8), "750");
  assertEquals(Deno.readTextFileSync(join(path, "mine")), "mine");
});

Deno.test("A relative path starts from the working directory", () => {
  using folder = new Folder();
  const before = Deno.cwd();
  Deno.chdir(folder.path);
  try {
    using dir = new DataDir("data");
    assertEquals(dir.path, folder.file("data"));
  } finally {
    Deno.chdir(before);
  }
});

Deno.test("One gateway has a folder at a time, and the next one when it lets go", () => {
  using folder = new Folder();
  const refuse = () =>
    assertRefused(() => new DataDir(folder.path), {
      problem: "inUse",
      path: folder.path,
      words: [`another gateway (pid ${Deno.pid})`, "DATA_DIR"],
    });
  const first = new DataDir(folder.path);
  refuse();
  // Being refused takes nothing away from the one who has it.
  refuse();
  first[Symbol.dispose]();
  first[Symbol.dispose]();
  using second = new DataDir(folder.path);
  assert(second.path === first.path);
});

for (const text of ["", "1\n", "4194304\n", "nonsense", "-1\n", "\0".repeat(100), "9".repeat(100)]) {
  Deno.test(`A lock file that nobody holds keeps nobody out, whatever is in it: ${JSON.stringify(text.slice(0, 10))}`, () => {
    using folder = new Folder();
    Deno.writeTextFileSync(folder.file("gateway.lock"), text);
    using _dir = new DataDir(folder.path);
    assertEquals(Deno.readTextFileSync(folder.file("gateway.lock")), `${Deno.pid}\n`);
  });
}

Deno.test("Where the holder has not told its pid yet, the refusal names none", () => {
  using folder = new Folder();
  using held = Deno.openSync(folder.file("gateway.lock"), { create: true, write: true });
  held.lockSync(true);
  assertRefused(() => new DataDir(folder.path), {
    problem: "inUse",
    path: folder.path,
    words: ["is in use by another gateway: stop"],
  });
});

Deno.test("A file in the folder's place, or above it, is refused", () => {
  using folder = new Folder();
  Deno.writeTextFileSync(folder.file("data"), "mine");
  for (const name of ["data", "data/below"]) {
    assertRefused(() => new DataDir(folder.file(name)), {
      problem: "misplaced",
      path: folder.file(name),
      words: ["cannot be made", "DATA_DIR"],
    });
  }
  assertEquals(Deno.readTextFileSync(folder.file("data")), "mine");
});

Deno.test({
  name: "A folder that cannot be written is refused",
  ignore: !MAY_MOUNT,
  fn: () => {
    using folder = new Folder();
    const path = folder.file("mounted");
    using _mounted = mountTmpfs(path, "ro,size=1m");
    const words = ["Read-only file system", "DATA_DIR"];
    assertRefused(() => new DataDir(path), {
      problem: "notWritable",
      path: folder.file("mounted/gateway.lock"),
      words,
    });
    const below = folder.file("mounted/data");
    assertRefused(() => new DataDir(below), { problem: "notWritable", path: below, words });
  },
});

Deno.test({
  name: "A full disk is refused",
  ignore: !MAY_MOUNT,
  fn: () => {
    using folder = new Folder();
    const path = folder.file("mounted");
    using _mounted = mountTmpfs(path, "size=4k,nr_inodes=2");
    Deno.writeFileSync(folder.file("mounted/filler"), new Uint8Array(4_096));
    assertRefused(() => new DataDir(path), {
      problem: "full",
      path: folder.file("mounted/gateway.lock"),
      words: ["no space is left", "DATA_DIR"],
    });
  },
});

Deno.test("A process that is killed lets go, though what it started lives on", async () => {
  using folder = new Folder();
  const module = new URL("../../stores/data_dir.ts", import.meta.url);
  const script = `import { spawn } from "node:child_process";
    import { DataDir } from "${module}";
    const dir = new DataDir(${JSON.stringify(folder.path)});
    const child = spawn("sleep", ["100000"], { detached: true });
    console.log(child.pid);
    setInterval(() => dir, 60_000);`;
  const holder = new Deno.Command(Deno.execPath(), { args: ["eval", script], stdout: "piped" }).spawn();
  const reader = holder.stdout.getReader();
  const { value } = await reader.read();
  const grandchild = Number(new TextDecoder().decode(value));
  assertRefused(() => new DataDir(folder.path), {
    problem: "inUse",
    path: folder.path,
    words: [`(pid ${holder.pid})`],
  });
  holder.kill("SIGKILL");
  await holder.status;
  try {
    assert(Deno.statSync(`/proc/${grandchild}`).isDirectory);
    using _dir = new DataDir(folder.path);
  } finally {
    Deno.kill(grandchild, "SIGKILL");
    await reader.cancel();
  }
});
