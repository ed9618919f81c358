/**
 * JSON with comments and trailing commas, with the place of every value kept for error lines.
 *
 * @module
 */
import { findNodeAtLocation, type Node, type ParseError, parseTree, printParseErrorCode } from "jsonc-parser";
import { oneLine, quote } from "./config_error.ts";

/** Keys and indexes from the root to a value. */
export type Path = readonly (string | number)[];

/** Something to say about a place in the file. */
export interface Finding {
  /** In UTF-16 units from the start of the text. */
  readonly offset: number;
  readonly path: Path;
  readonly said: string;
}

/** A parsed file, or what keeps it from being parsed. */
export type JsoncResult =
  | { readonly kind: "document"; readonly value: unknown; offsetOf(path: Path, part: Part): number }
  | { readonly kind: "mistakes"; readonly mistakes: readonly Finding[] };

/** A place is that of a value or that of the key before it. */
export type Part = "key" | "value";

/** What the parser's errors are called in an error line, by its own names for them. */
const SYNTAX: Readonly<Record<string, string>> = {
  InvalidSymbol: "expected a value, or a name in double quotes",
  InvalidNumberFormat: "expected a number as JSON writes it",
  PropertyNameExpected: "expected a name in double quotes",
  ValueExpected: "expected a value",
  ColonExpected: 'expected ":"',
  CommaExpected: 'expected "," or the closing bracket',
  CloseBraceExpected: 'expected "}"',
  CloseBracketExpected: 'expected "]"',
  EndOfFileExpected: "expected the end of the file",
  InvalidCommentToken: "expected no comment",
  UnexpectedEndOfComment: 'expected "*/" at the end of the comment',
  UnexpectedEndOfString: "expected a closing double quote on the same line",
  UnexpectedEndOfNumber: "expected more digits",
  InvalidUnicode: "expected four hexadecimal digits after \\u",
  InvalidEscapeCharacter: 'expected one of "\\/bfnrtu after \\ (a backslash is \\\\)',
  InvalidCharacter: "expected no control character in a string (a tab is \\t)",
};

/**
 * Parses a text. Objects in `value` have no prototype, so that no key means anything but itself.
 *
 * Of syntax errors only the first is told, the rest being its echo. A key that is there twice is a mistake,
 * and so is `__proto__`, which copying would turn into something else than a key.
 */
export function parseJsonc(text: string): JsoncResult {
  const errors: ParseError[] = [];
  let root: Node | undefined;
  try {
    root = parseTree(text, errors, { allowTrailingComma: true });
    const first = errors.toSorted((a, b) => a.offset - b.offset)[0];
    if (first !== undefined || root === undefined) return refused(first?.offset ?? 0, syntaxOf(first, text));
    const mistakes: Finding[] = [];
    const value = valueOf(root, [], mistakes);
    if (mistakes.length > 0) return { kind: "mistakes", mistakes };
    return { kind: "document", value, offsetOf: (path, part) => offsetOf(root!, path, part) };
  } catch (error) {
    // The parser recurses: brackets by the ten thousand exhaust the stack.
    if (error instanceof RangeError) return refused(0, "expected fewer brackets inside each other");
    throw error;
  }
}

function syntaxOf(error: ParseError | undefined, text: string): string {
  if (text.trim() === "" || error === undefined) return "expected a value: the file is empty";
  return SYNTAX[printParseErrorCode(error.error)] ?? "expected JSON";
}

function refused(offset: number, said: string): JsoncResult {
  return { kind: "mistakes", mistakes: [{ offset, path: [], said }] };
}

function valueOf(node: Node, path: Path, mistakes: Finding[]): unknown {
  const children = node.children ?? [];
  if (node.type === "array") {
    return children.map((child, index) => valueOf(child, [...path, index], mistakes));
  }
  if (node.type !== "object") return node.value;
  const object: Record<string, unknown> = Object.create(null);
  for (const property of children) {
    const [name, value] = property.children!;
    const key: string = name!.value;
    const here = [...path, key];
    if (key === "__proto__") {
      mistakes.push({ offset: name!.offset, path: here, said: "this name is not allowed: any other" });
    } else if (key in object) {
      mistakes.push({ offset: name!.offset, path: here, said: "is there twice: each name once" });
    } else {
      object[key] = valueOf(value!, here, mistakes);
    }
  }
  return object;
}

/** Where a value or its key starts; for what is not there, where the object around it does. */
function offsetOf(root: Node, path: Path, part: Part): number {
  const node = findNodeAtLocation(root, [...path]);
  if (node === undefined) return offsetOf(root, path.slice(0, -1), part);
  return part === "key" && node.parent?.type === "property" ? node.parent.offset : node.offset;
}

/**
 * The place in the file, both from 1, as editors count.
 *
 * @param offset In UTF-16 units.
 */
export function lineAndColumn(text: string, offset: number): string {
  const lines = text.slice(0, offset).split(/\r\n|\r|\n/);
  return `${lines.length}:${lines.at(-1)!.length + 1}`;
}

/** The path as one would write it in JavaScript: `mcpServers.files.args[1]`. */
export function pathText(path: Path): string {
  return path.map((part, index) => {
    if (typeof part === "number") return `[${part}]`;
    if (/^[A-Za-z_$][\w$-]*$/.test(part)) return index === 0 ? part : `.${part}`;
    return `[${isSecretive(path.slice(0, index)) ? quoteName(part) : quote(part)}]`;
  }).join("");
}

/** The keys that servers stand under; the second is VS Code's. Without either they are at the top. */
export const ROOT_KEYS = ["mcpServers", "servers"];

/** How many parts of a path lead to the entry of a server. */
export function entryDepth(path: Path): number {
  return ROOT_KEYS.includes(String(path[0])) ? 2 : 1;
}

/** Whether what is in there may be a secret: never shown, expanded or not. */
export function isSecretive(path: Path): boolean {
  return ["env", "headers"].includes(String(path[entryDepth(path)]));
}

/** `{"TOKEN=abc": ""}` has its secret in the name: what follows the first odd character is not shown. */
function quoteName(name: string): string {
  const plain = /^[\w.-]*/.exec(name)![0];
  return quote(plain === name ? name : `${plain}…`);
}

/** A value as an error shows it. Lists and objects may hold anything, so they are only named. */
export function shown(value: unknown): string {
  if (typeof value === "string") return quote(value);
  if (Array.isArray(value)) return "a list";
  return typeof value === "object" && value !== null ? "an object" : oneLine(String(value));
}
