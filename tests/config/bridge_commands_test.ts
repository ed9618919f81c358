import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  type BridgeCommand,
  type CommandsOptions,
  loadBridgeCommands,
} from "../../config/bridge_commands.ts";
import { ConfigError } from "../../config/config_error.ts";
import {
  type CommandWish,
  judgeCommand,
  listCommands,
  MAX_MATCHED_CHARS,
} from "../../config/judge_command.ts";
import { isRuntimeVariable } from "../../config/runtime_variables.ts";
import { failing, refusal } from "./helpers.ts";

const PROGRAMS = ["/usr/bin/node", "/bin/node", "/opt/tool"];

function load(content: unknown, options: Partial<CommandsOptions> = {}): BridgeCommand[] {
  return loadBridgeCommands(typeof content === "string" ? content : JSON.stringify(content), {
    tokenRequired: true,
    cwd: "/srv",
    path: "/nowhere:relative::/usr/bin:/bin",
    isProgram: (path) => PROGRAMS.includes(path),
    ...options,
  });
}

async function judge(content: unknown, wish: Partial<CommandWish>): Promise<string> {
  const verdict = judgeCommand(await listCommands(load(content)), {
    serverPath: "node",
    args: [],
    env: {},
    ...wish,
  });
  return verdict.state === "listed" ? verdict.command.name : verdict.why;
}

Deno.test("Without the setting no command is listed", () => {
  const options = { tokenRequired: false, cwd: "/srv", path: undefined };
  assertEquals(loadBridgeCommands(undefined, options), []);
});

Deno.test("Commands are not for a gateway without tokens", () => {
  const line = "BRIDGE_COMMANDS: not allowed without ACCESS_TOKEN or ACCESS_TOKENS_FILE";
  for (const content of [{}, { a: { command: "node" } }, "no JSON"]) {
    assertEquals(refusal(() => load(content, { tokenRequired: false })), line);
  }
});

Deno.test("A program is looked for on the PATH once, in its absolute folders and in their order", () => {
  const [command] = load({ a: { command: "node" } });
  assertEquals([command?.command, command?.file, command?.cwd], ["node", "/usr/bin/node", "/srv"]);
  assertEquals(load({ a: { command: "/opt/tool", cwd: "sub" } })[0]?.file, "/opt/tool");
  assertEquals(load({ a: { command: "/opt/tool", cwd: "sub" } })[0]?.cwd, "/srv/sub");
  assertEquals(load({ a: { command: "deno" } })[0]?.file, Deno.execPath());
});

Deno.test("A file has the same form, comments too, and its own folder is where paths start", () => {
  const text = '{/* ours */ "a": {"command": "node", "cwd": "x"},}';
  const readFile = (path: string) => {
    assertEquals(path, "/srv/conf/commands.json");
    return new TextEncoder().encode(text);
  };
  assertEquals(load("@conf/commands.json", { readFile })[0]?.cwd, "/srv/conf/x");
});

// [the setting, the error line].
const MISTAKES: [unknown, string][] = [
  ["{", 'BRIDGE_COMMANDS:1:2: expected "}"'],
  ["[]", "BRIDGE_COMMANDS:1:1: is not allowed: an object such as"],
  ['"node"', "BRIDGE_COMMANDS:1:1: is not allowed: an object such as"],
  [{ a: "node" }, "BRIDGE_COMMANDS:1:6: a: is not allowed: an object, such as in"],
  [{ a: {} }, "BRIDGE_COMMANDS:1:6: a.command: is not allowed: a program's name or absolute path"],
  [
    { a: { command: 1 } },
    "BRIDGE_COMMANDS:1:17: a.command: is not allowed: a program's name or absolute path",
  ],
  [{ a: { command: "" } }, "a.command: is not allowed: a program's name, or its absolute path"],
  [{ a: { command: "./node" } }, "a.command: is not allowed: a program's name, or its absolute path"],
  [{ a: { command: "node -e 1" } }, "a.command: is not allowed: a program's name, or its absolute path"],
  [{ a: { command: "npx" } }, 'a.command: "npx" is no program on the PATH'],
  [{ a: { command: "/usr/bin/none" } }, 'a.command: "/usr/bin/none" is no program'],
  [{ "a b": { command: "node" } }, '["a b"]: this name is not allowed: 1 to 64 of'],
  [{ a: { command: "node", arg: [] } }, "BRIDGE_COMMANDS:1:24: a.arg: is not known here"],
  [{ a: { command: "node", args: "x" } }, "a.args: is not allowed: a list"],
  [{ a: { command: "node", args: [1] } }, 'a.args[0]: is not allowed: texts and {"pattern": "…"}'],
  [{ a: { command: "node", args: ["\0"] } }, "a.args[0]: is not allowed"],
  [{ a: { command: "node", args: Array(101).fill("x") } }, "a.args: is not allowed: at most 100 of them"],
  [{ a: { command: "node", moreArgs: { pattern: "x" } } }, "a.moreArgs.max: is not allowed: a whole number"],
  [{ a: { command: "node", moreArgs: { pattern: "x", max: 0 } } }, "a.moreArgs.max: is not allowed: a whole"],
  [
    { a: { command: "node", moreArgs: { pattern: "x", max: 1.5 } } },
    "a.moreArgs.max: is not allowed: a whole",
  ],
  [
    { a: { command: "node", args: [{ pattern: "x".repeat(1_001) }] } },
    "pattern: is not allowed: at most 1000 char",
  ],
  [{ a: { command: "node", args: [{ pattern: 1 }] } }, "a.args[0]: is not allowed"],
  [{ a: { command: "node", env: ["A=B"] } }, "a.env[0]: is not allowed: a variable's name"],
  [{ a: { command: "node", env: ["NODE_OPTIONS"] } }, "a.env[0]: is not allowed: a variable that no loader,"],
  [{ a: { command: "node", env: ["npm_config_registry"] } }, "a.env[0]: is not allowed: a variable that no"],
  [{ a: { command: "node", cwd: "" } }, "a.cwd: is not allowed: a folder's path"],
  ['{"a": {"command": "node"}, "a": {"command": "node"}}', "a: is there twice: each name once"],
  ["@", 'BRIDGE_COMMANDS: "": no such file'],
];
for (const [content, expected] of MISTAKES) {
  Deno.test(`Commands that are a mistake: ${JSON.stringify(content)?.slice(0, 80)}`, () => {
    const line = refusal(() => load(content));
    assert(line.includes(expected), line);
  });
}

Deno.test("A file that is missing or cannot be read stops the start", () => {
  const missing = failing(new Deno.errors.NotFound());
  assertEquals(
    refusal(() => load("@x.json", { readFile: missing })),
    'BRIDGE_COMMANDS: "x.json": no such file',
  );
  const folder = failing(new Deno.errors.IsADirectory());
  assertEquals(
    refusal(() => load("@x.json", { readFile: folder })),
    "x.json: cannot be read: it is a folder",
  );
});

const LIST = {
  exact: { command: "node", args: ["server.js"] },
  pattern: { command: "node", args: ["run", { pattern: "--n=\\d+|-v" }], env: ["REGION"] },
  more: { command: "/opt/tool", args: ["go"], moreArgs: { pattern: "[a-z]+", max: 2 }, env: ["A", "B"] },
};
// [the wish, the entry or why there is none].
const WISHES: [Partial<CommandWish>, string][] = [
  [{ args: ["server.js"] }, "exact"],
  [{ serverPath: "/usr/bin/node", args: ["server.js"] }, "exact"],
  [{ serverPath: "/bin/node", args: ["server.js"] }, '"/bin/node" is not listed'],
  [{ serverPath: "./node", args: ["server.js"] }, '"./node" is not listed'],
  [{ serverPath: "node ", args: ["server.js"] }, '"node " is not listed'],
  [{ serverPath: "NODE", args: ["server.js"] }, '"NODE" is not listed'],
  [{ serverPath: "/usr/bin/../bin/node", args: ["server.js"] }, '"/usr/bin/../bin/node" is not listed'],
  [{ serverPath: "tool", args: ["go"] }, '"tool" is not listed'],
  [{ serverPath: "sh", args: ["-c", "id"] }, '"sh" is not listed'],
  [{ serverPath: "__proto__" }, '"__proto__" is not listed'],
  [{}, '"node" is not listed with these arguments'],
  [{ args: ["server.js", ""] }, '"node" is not listed with these arguments'],
  [{ args: ["server.js\n"] }, '"node" is not listed with these arguments'],
  [{ args: ["-e", "process.exit()"] }, '"node" is not listed with these arguments'],
  [{ args: ["run", "--n=12"] }, "pattern"],
  [{ args: ["run", "-v"] }, "pattern"],
  // Anchored at both ends, whatever alternatives the pattern has.
  [{ args: ["run", "x-v"] }, '"node" is not listed with these arguments'],
  [{ args: ["run", "--n=1;x"] }, '"node" is not listed with these arguments'],
  [{ args: ["run", "--n=1\n"] }, '"node" is not listed with these arguments'],
  [{ args: ["run", "\n-v"] }, '"node" is not listed with these arguments'],
  [{ args: ["run", "--n=" + "1".repeat(MAX_MATCHED_CHARS)] }, '"node" is not listed with these arguments'],
  [{ args: ["run", "--n=" + "1".repeat(MAX_MATCHED_CHARS - 4)] }, "pattern"],
  [{ args: ["run", "-v"], env: { REGION: "eu" } }, "pattern"],
  [{ args: ["server.js"], env: { REGION: "eu" } }, '"node" is not listed with the variable "REGION"'],
  [{ args: ["run", "-v"], env: { region: "eu" } }, '"node" is not listed with the variable "region"'],
  [{ args: ["run", "-v"], env: { NODE_OPTIONS: "-r x" } }, 'no request may set "NODE_OPTIONS"'],
  [{ serverPath: "/opt/tool", args: ["go"] }, "more"],
  [{ serverPath: "/opt/tool", args: ["go", "a", "b"], env: { A: "", B: "" } }, "more"],
  [
    { serverPath: "/opt/tool", args: ["go", "a", "b", "c"] },
    '"/opt/tool" is not listed with these arguments',
  ],
  [{ serverPath: "/opt/tool", args: ["go", "a", ""] }, '"/opt/tool" is not listed with these arguments'],
  [{ serverPath: "/opt/tool", args: ["go", "-a"] }, '"/opt/tool" is not listed with these arguments'],
];
for (const [wish, verdict] of WISHES) {
  Deno.test(`A wish for ${JSON.stringify(wish).slice(0, 90)}: ${verdict}`, async () => {
    assertEquals(await judge(LIST, wish), verdict);
  });
}

Deno.test("A pattern that is none stops the start, with its place", async () => {
  const cases: [entry: Record<string, unknown>, line: string][] = [
    [{ args: ["x", { pattern: "(" }] }, 'a.args[1].pattern: "(" is not allowed: a regular expression of RE2'],
    // Neither gets out of the whole argument, nor asks for what takes more than one pass.
    [{ args: [{ pattern: "a)|(b" }] }, 'a.args[0].pattern: "a)|(b" is not allowed'],
    [{ args: [{ pattern: "(?=a)" }] }, 'a.args[0].pattern: "(?=a)" is not allowed'],
    [{ args: [{ pattern: "(a)\\1" }] }, "a.args[0].pattern: "],
    [{ moreArgs: { pattern: "[", max: 1 } }, 'a.moreArgs.pattern: "[" is not allowed'],
  ];
  for (const [entry, line] of cases) {
    const commands = load({ a: { command: "node", ...entry } });
    const { message } = await assertRejects(() => listCommands(commands), ConfigError);
    assert(message.startsWith(`BRIDGE_COMMANDS: ${line}`), message);
  }
});

Deno.test("No pattern takes long, whatever the argument", async () => {
  const patterns = ["(a+)+b", "(a|a)*b", "(a*)*b", "(.*a){20}b", "a*a*a*a*a*a*a*b"];
  const list = Object.fromEntries(
    patterns.map((pattern, n) => [`p${n}`, { command: "node", args: [{ pattern }] }]),
  );
  // To an engine that tries one way after the other the first alone would take until the end of days.
  assertEquals(
    await judge(list, { args: ["a".repeat(MAX_MATCHED_CHARS)] }),
    '"node" is not listed with these arguments',
  );
  assertEquals(await judge(list, { args: ["aab"] }), "p0");
});

Deno.test("Variables of loaders, runtimes and shells are refused whatever the list says", async () => {
  const [command] = await listCommands(load({ a: { command: "node" } }));
  const names = [
    ...[
      "NODE_OPTIONS",
      "NODE_PATH",
      "LD_PRELOAD",
      "LD_LIBRARY_PATH",
      "LD_AUDIT",
      "PATH",
      "DENO_DIR",
      "PYTHONPATH",
    ],
    ...[
      "PYTHONSTARTUP",
      "PYTHONHOME",
      "BASH_ENV",
      "ENV",
      "IFS",
      "DYLD_INSERT_LIBRARIES",
      "PERL5LIB",
      "PERL5OPT",
    ],
    ...[
      "PERLLIB",
      "RUBYOPT",
      "RUBYLIB",
      "GIT_SSH_COMMAND",
      "GIT_EXEC_PATH",
      "npm_config_registry",
      "NPM_CONFIG_X",
    ],
    ...[
      "HOME",
      "XDG_CONFIG_HOME",
      "OPENSSL_CONF",
      "GCONV_PATH",
      "JAVA_TOOL_OPTIONS",
      "GOFLAGS",
      "DOTNET_STARTUP_HOOKS",
    ],
    ...[
      "UV_INDEX",
      "PIP_INDEX_URL",
      "SOJOURN_BACKEND",
      "BASH_FUNC_ls",
      "PROMPT_COMMAND",
      "node_options",
      "ld_preload",
    ],
  ];
  for (const name of names) {
    assert(isRuntimeVariable(name), name);
    // Even of an entry that did not come through the reading.
    const trusting = { ...command!, env: new Set([name]) };
    const verdict = judgeCommand([trusting], { serverPath: "node", args: [], env: { [name]: "x" } });
    assertEquals(verdict, { state: "refused", why: `no request may set ${JSON.stringify(name)}` });
  }
  for (
    const name of ["API_KEY", "REGION", "GOOGLE_API_KEY", "GITHUB_TOKEN", "NPM_TOKEN", "PATHS", "ENVIRONMENT"]
  ) {
    assertEquals(isRuntimeVariable(name), false, name);
  }
});
