import { assert, assertEquals } from "@std/assert";
import { parse } from "@std/dotenv";
import { readSettings, settingsTable } from "../../config/settings.ts";

const example = Deno.readTextFileSync(new URL("../../.env.example", import.meta.url));

Deno.test(".env.example lists every setting, commented out, with its help and its default", () => {
  const [, ...blocks] = example.trimEnd().split("\n\n");
  assertEquals(
    blocks,
    settingsTable().map((row) => `# ${row.help}\n# ${row.variable}=${row.default}`),
  );
});

Deno.test(".env.example sets nothing as it stands, and the defaults once uncommented", () => {
  const plain = { args: [], env: {}, dotenv: {} };
  assertEquals({ ...parse(example) }, {});
  const dotenv = { ...parse(example.replaceAll(/^# (?=[A-Z_]+=)/gm, "")) };
  assertEquals(dotenv, Object.fromEntries(settingsTable().map((row) => [row.variable, row.default])));
  // Named in .env is named, though the name be the default's.
  const { MCP_CONFIG: _, ...others } = dotenv;
  const result = readSettings({ ...plain, dotenv: others });
  assert(result.kind === "settings");
  assertEquals({ ...result, origins: {} }, { ...readSettings(plain), origins: {} });
});
