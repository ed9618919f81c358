/**
 * The rules of the project that a machine can hold: imports point one way, and time is read from the clock only.
 *
 * @module
 */

/** One layer: which files it is made of and what they may import. Paths are relative to the project's root. */
interface Layer {
  readonly name: string;
  /** A file, or a folder with a slash at its end. */
  readonly files: readonly string[];
  /** Files and folders that may be imported besides the layer's own. */
  readonly imports: readonly string[];
}

/** What everybody may import. They import each other and packages. */
const LEAVES = [
  "clock.ts",
  "errors.ts",
  "events.ts",
  "fault.ts",
  "gathered.ts",
  "log.ts",
  "protocol/",
  "rate.ts",
  "timers.ts",
];

/** From the bottom to the top. Files that belong to none, such as tests, may import anything. */
const LAYERS: readonly Layer[] = [
  { name: "leaves", files: LEAVES, imports: [] },
  { name: "config", files: ["config/"], imports: [...LEAVES, "deno.json"] },
  { name: "stores", files: ["stores/"], imports: [...LEAVES, "config/types.ts"] },
  {
    name: "backends",
    files: ["backends/"],
    imports: [...LEAVES, "config/types.ts", "stores/process_rows.ts"],
  },
  {
    name: "machine",
    files: ["machine/"],
    imports: [...LEAVES, "backends/process_table.ts", "backends/snapshot.ts"],
  },
  {
    name: "actors",
    files: ["actors/"],
    imports: [...LEAVES, "config/types.ts", "backends/backend.ts", "backends/source.ts", "stores/store.ts"],
  },
  {
    name: "routes",
    files: ["routes/"],
    imports: [...LEAVES, "config/types.ts", "actors/supervisor.ts", "actors/client.ts"],
  },
];

/** What only they themselves may import. */
const NOT_SHIPPED = ["tests/", "bench/", "tools/"];
/** Where time may be read from anywhere. */
const FREE_TIME = ["clock.ts", ...NOT_SHIPPED, "std/"];

/** Globals that read time or wait for it. */
const TIMERS = new Set(["setTimeout", "setInterval"]);
/** Members of globals that do. */
const TIME_MEMBERS: Readonly<Record<string, readonly string[]>> = {
  Date: ["now"],
  performance: ["now"],
  AbortSignal: ["timeout"],
  Deno: ["cron"],
};
const TIMER_MODULES = new Set(["node:timers", "node:timers/promises", "timers", "timers/promises"]);
const GLOBAL_OBJECTS = new Set(["globalThis", "window", "self", "global"]);

const ROOT = new URL("..", import.meta.url).pathname;

const plugin: Deno.lint.Plugin = {
  name: "sojourn",
  rules: {
    "import-direction": {
      create(context) {
        const from = relative(context.filename);
        const check = (source: Deno.lint.Node) => {
          const specifier = textOf(source);
          if (specifier === undefined) return;
          const problem = importProblem(from, specifier);
          if (problem !== undefined) context.report({ node: source, message: problem });
        };
        return {
          ImportDeclaration: (node) => check(node.source),
          ExportAllDeclaration: (node) => check(node.source),
          ExportNamedDeclaration: (node) => {
            if (node.source) check(node.source);
          },
          ImportExpression: (node) => check(node.source),
          TSImportType(node) {
            if (node.argument.type === "TSLiteralType") check(node.argument.literal);
          },
        };
      },
    },
    "clock-only": {
      create(context) {
        if (contains(FREE_TIME, relative(context.filename))) return {};
        const report = (node: Deno.lint.Node, what: string) =>
          context.report({ node, message: `${what} is read outside clock.ts: take the time from a Clock` });
        return {
          ImportDeclaration(node) {
            if (TIMER_MODULES.has(node.source.value)) report(node, node.source.value);
          },
          ExportAllDeclaration(node) {
            if (TIMER_MODULES.has(node.source.value)) report(node, node.source.value);
          },
          ImportExpression(node) {
            const specifier = textOf(node.source) ?? "";
            if (TIMER_MODULES.has(specifier)) report(node, specifier);
          },
          Identifier(node) {
            if (TIMERS.has(node.name) && !isName(node)) report(node, node.name);
          },
          MemberExpression(node) {
            const member = memberName(node);
            const object = globalName(node.object);
            if (readsTime(object, member)) report(node, `${object}.${member}`);
          },
          VariableDeclarator(node) {
            if (node.id.type !== "ObjectPattern" || !node.init) return;
            const object = globalName(node.init);
            for (const property of node.id.properties) {
              const member = property.type === "Property" ? keyName(property) : undefined;
              if (readsTime(object, member)) report(property, `${object}.${member}`);
            }
          },
          CallExpression(node) {
            if (globalName(node.callee) === "Date") report(node, "Date()");
          },
          NewExpression(node) {
            if (globalName(node.callee) === "Date" && node.arguments.length === 0) report(node, "new Date()");
          },
        };
      },
    },
  },
};
export default plugin;

/** Why a file may not import a specifier; undefined where it may. Packages are not looked at. */
function importProblem(from: string, specifier: string): string | undefined {
  if (!/^(?:[./]|file:)/.test(specifier)) return undefined;
  const to = specifier.startsWith(".")
    ? new URL(specifier, `file:///${from}`).pathname.slice(1)
    : relative(specifier);
  if (contains(NOT_SHIPPED, to) && !contains(NOT_SHIPPED, from)) {
    return `${from} imports ${to}, which is not shipped: only ${NOT_SHIPPED.join(", ")} may`;
  }
  const layer = LAYERS.find((layer) => contains(layer.files, from));
  if (layer === undefined || contains([...layer.files, ...layer.imports], to)) return undefined;
  const allowed = [...layer.files, ...layer.imports].join(", ");
  return `${from} imports ${to}, but ${layer.name} may import ${allowed} only`;
}

/** Whether a path is one of the files, or lies in one of the folders. */
function contains(paths: readonly string[], path: string): boolean {
  return paths.some((entry) => entry.endsWith("/") ? path.startsWith(entry) : path === entry);
}

function relative(filename: string): string {
  const path = filename.startsWith("file:") ? new URL(filename).pathname : filename;
  return path.startsWith(ROOT) ? path.slice(ROOT.length) : path.replace(/^\.?\//, "");
}

/** Whether a member of a global reads time or waits for it. */
function readsTime(object: string | undefined, member: string | undefined): boolean {
  if (object === undefined || member === undefined) return false;
  if (GLOBAL_OBJECTS.has(object) && TIMERS.has(member)) return true;
  return TIME_MEMBERS[object]?.includes(member) ?? false;
}

/** Whether an identifier only names a member, a key or a label, and so is not the global. */
function isName(node: Deno.lint.Identifier): boolean {
  const { parent } = node;
  switch (parent?.type) {
    case "MemberExpression":
      return parent.property === node && !parent.computed;
    case "Property":
      return parent.key === node && !parent.computed && !parent.shorthand;
    case "PropertyDefinition":
    case "MethodDefinition":
      return parent.key === node;
    case "TSPropertySignature":
    case "TSMethodSignature":
    case "TSQualifiedName":
    case "TSTypeQuery":
    case "TSTypeReference":
      return true;
    default:
      return false;
  }
}

/** The global that an expression names, also by way of `globalThis` and under casts. */
function globalName(node: Deno.lint.Node): string | undefined {
  switch (node.type) {
    case "Identifier":
      return node.name;
    case "TSAsExpression":
    case "TSNonNullExpression":
    case "TSSatisfiesExpression":
    case "ChainExpression":
      return globalName(node.expression);
    case "MemberExpression": {
      const object = globalName(node.object);
      return object !== undefined && GLOBAL_OBJECTS.has(object) ? memberName(node) : undefined;
    }
    default:
      return undefined;
  }
}

/** `b` of `a.b` and of `a["b"]`. */
function memberName({ computed, property }: Deno.lint.MemberExpression): string | undefined {
  return !computed && property.type === "Identifier" ? property.name : textOf(property);
}

/** `b` of `{ b: c }` and of `{ "b": c }`. */
function keyName({ computed, key }: Deno.lint.Property): string | undefined {
  return !computed && key.type === "Identifier" ? key.name : textOf(key);
}

/** What a string literal says, or a template without a hole. */
function textOf(node: Deno.lint.Node): string | undefined {
  if (node.type === "Literal") return typeof node.value === "string" ? node.value : undefined;
  if (node.type !== "TemplateLiteral" || node.expressions.length > 0) return undefined;
  return node.quasis[0]?.cooked;
}
