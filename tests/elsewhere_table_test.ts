import { assert, assertEquals } from "@std/assert";

const project = new URL("../", import.meta.url);
const read = (path: string) => Deno.readTextFileSync(new URL(path, project));

/** The rows of the README's table: the reference and the files of its tests. */
function rows(): { reference: string; files: string[] }[] {
  const [, section] = read("README.md").split("\n## What goes wrong elsewhere\n");
  const [table] = section!.split("\n## ");
  return [...table!.matchAll(/^\| `([^`]+)` .*\|$/gm)].map(([row, reference]) => ({
    reference: reference!,
    files: [...row.matchAll(/\]\(([^)]+)\)/g)].map(([, file]) => file!),
  }));
}

/** The names of the tests in a file. */
function testsOf(file: string): string[] {
  return [...read(file).matchAll(/^Deno\.test\(\s*"([^"]+)"/gm)].map(([, name]) => name!);
}

Deno.test("Each row of the README's table of what goes wrong elsewhere has a test that begins with its reference", () => {
  assertEquals(rows().length, 18);
  for (const { reference, files } of rows()) {
    assert(files.length > 0, `${reference} names no file`);
    for (const file of files) {
      const own = testsOf(file).filter((name) => name.startsWith(`${reference}: `));
      assert(own.length > 0, `${file} has no test whose name begins with "${reference}: "`);
    }
  }
});

Deno.test("Each test of what goes wrong elsewhere has its row in the README's table", () => {
  const files = ["tests/e2e", "tests/backends"].flatMap((folder) =>
    [...Deno.readDirSync(new URL(folder, project))].map(({ name }) => `${folder}/${name}`)
  ).filter((path) => /\/elsewhere_\w+_test\.ts$/.test(path));
  assert(files.length > 0);
  const linked = rows().flatMap(({ reference, files }) => files.map((file) => `${file} ${reference}`));
  const tests = files.flatMap((file) => testsOf(file).map((name) => `${file} ${name}`));
  assertEquals(tests.filter((test) => !linked.some((link) => test.startsWith(`${link}: `))), []);
});
