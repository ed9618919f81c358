import { assertEquals } from "@std/assert";
import { settingsTable } from "../../config/settings.ts";

const readme = Deno.readTextFileSync(new URL("../../README.md", import.meta.url));

Deno.test("The README's table lists every setting in order, with its flag and its default", () => {
  const rows = readme.split("\n").filter((line) => /^\| `[A-Z_]+` /.test(line));
  const cells = rows.map((row) =>
    row.split(" | ").slice(0, 3).map((cell) => cell.replace(/^\| /, "").trim())
  );
  const code = (text: string) => text === "" ? "" : `\`${text}\``;
  assertEquals(
    cells,
    settingsTable().map((row) => [code(row.variable), code(row.flag), code(row.default)]),
  );
});
