/**
 * Valid requests, and what can be done to them: JSON changed, bytes changed, headers, methods and paths changed.
 *
 * A mutant is plain data, so that a failure can print it; sessions are named in it, as their ids differ in each run.
 *
 * @module
 */
import { POST_HEADERS } from "../fakes/app_harness.ts";
import { SERVER } from "../fakes/harness.ts";

/** The sessions of a world; `gone` has ended, and `nobody` never was. */
export const NAMES = ["june", "march", "november", "bob", "elsewhere", "gone", "nobody"] as const;
export type Name = typeof NAMES[number];
/** The principals; carol may use the server `other` alone, and eve has no token. */
export const PRINCIPALS = ["ann", "bob", "carol", "eve"] as const;
export type Principal = typeof PRINCIPALS[number];

/** What is in flight in the session that a request names, where anything is. */
export const BUSY_ID = "busy";
/** What its server asked. */
export const QUESTION_ID = "q";

/** A valid request without its headers. */
interface Template {
  readonly method: string;
  readonly target?: string;
  readonly body?: unknown;
  /** Whether it names a session. */
  readonly named: boolean;
  /** Which one, where only one will do. */
  readonly name?: Name;
}

const LIST = { jsonrpc: "2.0", id: 1, method: "tools/list" };
const CALL = {
  jsonrpc: "2.0",
  id: "call-1",
  method: "tools/call",
  params: {
    name: "tool",
    arguments: { list: [1, 2.5, { deep: [null, true, "\u00e9\u{1f600}\n"] }], empty: {} },
    _meta: { progressToken: "p-1" },
  },
};
const CANCEL = { jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId: BUSY_ID } };
const ANSWER = { jsonrpc: "2.0", id: QUESTION_ID, result: { roots: [{ uri: "file:///x" }] } };

const TEMPLATES = {
  initialize: {
    method: "POST",
    named: false,
    body: {
      jsonrpc: "2.0",
      id: 0,
      method: "initialize",
      params: { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: { name: "t", version: "1" } },
    },
  },
  list: { method: "POST", named: true, body: LIST },
  call: { method: "POST", named: true, body: CALL },
  implicit: { method: "POST", named: false, body: CALL },
  notification: {
    method: "POST",
    named: true,
    body: { jsonrpc: "2.0", method: "notifications/roots/list_changed", params: { _meta: {} } },
  },
  cancel: { method: "POST", named: true, body: CANCEL },
  answer: { method: "POST", named: true, body: ANSWER },
  refusal: {
    method: "POST",
    named: true,
    body: { jsonrpc: "2.0", id: QUESTION_ID, error: { code: -32601, message: "no", data: [1] } },
  },
  batch: { method: "POST", named: true, name: "march", body: [LIST, CALL, CANCEL, ANSWER] },
  stream: { method: "GET", named: true },
  delete: { method: "DELETE", named: true },
  preflight: { method: "OPTIONS", named: false },
  health: { method: "GET", named: false, target: "/health" },
} as const satisfies Record<string, Template>;
/** Its names. */
export type TemplateName = keyof typeof TEMPLATES;
export const TEMPLATE_NAMES = Object.keys(TEMPLATES) as TemplateName[];

/** A place in something of unknown length: taken modulo what there is. */
export type Place = number;
/** The value of a header: as it is, or something that only a world knows. */
export type Value =
  | string
  | { readonly idOf: Name; readonly cut?: number }
  | { readonly tokenOf: Principal; readonly before: string; readonly behind: string };

/** A change of the JSON of the body. */
export type JsonMutation =
  | { readonly json: "replace"; readonly at: Place; readonly raw: string }
  | { readonly json: "set"; readonly at: Place; readonly key: string; readonly raw: string }
  | { readonly json: "drop"; readonly at: Place }
  | { readonly json: "rename"; readonly at: Place; readonly key: string }
  | { readonly json: "double"; readonly at: Place; readonly raw: string | undefined }
  | { readonly json: "repeat"; readonly at: Place; readonly times: number }
  | { readonly json: "wrap"; readonly at: Place; readonly key: string | undefined; readonly depth: number }
  | { readonly json: "swap"; readonly at: Place; readonly with: Place }
  | { readonly json: "graft"; readonly at: Place; readonly from: TemplateName };

/** A change of its bytes. */
export type ByteMutation =
  | { readonly bytes: "flip"; readonly at: Place; readonly bit: number }
  | { readonly bytes: "delete"; readonly at: Place; readonly count: number }
  | { readonly bytes: "insert"; readonly at: Place; readonly what: readonly number[] }
  | { readonly bytes: "duplicate"; readonly at: Place; readonly count: number }
  | { readonly bytes: "truncate"; readonly at: Place }
  | { readonly bytes: "splice"; readonly at: Place; readonly from: TemplateName; readonly end: Place };

/** A change of a header. */
export type HeaderMutation =
  | { readonly header: "drop"; readonly name: string }
  | { readonly header: "set" | "add"; readonly name: string; readonly value: Value };

/** A change of the path. */
export type PathMutation =
  | { readonly path: "set"; readonly value: string }
  | { readonly path: "encode" | "truncate"; readonly at: Place }
  | { readonly path: "insert"; readonly at: Place; readonly what: string };

/** One change. */
export type Mutation =
  | JsonMutation
  | ByteMutation
  | HeaderMutation
  | PathMutation
  | { readonly method: string }
  | { readonly host: string };

/** A valid request and what is done to it. */
export interface Mutant {
  readonly template: TemplateName;
  readonly name: Name;
  /** Headers that some clients send and others do not. */
  readonly extras: readonly ("version" | "length" | "origin" | "agent")[];
  /** Whether a request and a question are in flight in the session already. */
  readonly busy: boolean;
  /** How the body comes: in one piece, byte by byte, or not to its end. */
  readonly delivery: "whole" | "bits" | "broken";
  readonly mutations: readonly Mutation[];
}

/** What a world knows of its sessions and principals. */
export interface Lookup {
  idOf(name: Name): string;
  versionOf(name: Name): string;
  tokenOf(principal: Principal): string;
}

/** A request as the application gets it. Its body is still to be made a stream. */
export interface Mutated {
  readonly url: string;
  readonly method: string;
  readonly headers: Headers;
  readonly body: Uint8Array<ArrayBuffer> | undefined;
  readonly delivery: Mutant["delivery"];
}

/** The session whose headers a mutant begins with; its own mutations may name another. */
export function namedBy({ template, name }: Mutant): Name {
  const { name: only } = TEMPLATES[template] as Template;
  return only ?? name;
}

/** A valid request, before anything is done to it. */
export interface Whole {
  readonly method: string;
  readonly target: string;
  readonly body: unknown;
  /** Its headers, when its body is what it is to be. */
  readonly headersFor: (body: Uint8Array<ArrayBuffer>) => Headers;
}

/** Makes the request. */
export function mutate(mutant: Mutant, lookup: Lookup): Mutated {
  const { extras, delivery } = mutant;
  const { method, target, body, named }: Template = TEMPLATES[mutant.template];
  const name = namedBy(mutant);
  const headersFor = (body: Uint8Array<ArrayBuffer>) => {
    const headers = new Headers(POST_HEADERS);
    headers.set("authorization", `Bearer ${lookup.tokenOf(name === "bob" ? "bob" : "ann")}`);
    if (named) headers.set("mcp-session-id", lookup.idOf(name));
    if (extras.includes("version")) headers.set("mcp-protocol-version", lookup.versionOf(name));
    if (extras.includes("length") && delivery === "whole") headers.set("content-length", String(body.length));
    if (extras.includes("origin")) headers.set("origin", "http://localhost");
    if (extras.includes("agent")) headers.set("user-agent", "test/1");
    return headers;
  };
  return change(
    { method, target: target ?? `/mcp/${name === "elsewhere" ? "other" : SERVER}`, body, headersFor },
    mutant,
    lookup,
  );
}

/** Does to a request what a mutant is made of. */
export function change(
  { method, target, body: value, headersFor }: Whole,
  { mutations, delivery }: Pick<Mutant, "mutations" | "delivery">,
  lookup: Lookup,
): Mutated {
  const holder: Json = { items: value === undefined ? [] : [jsonOf(value)] };
  for (const mutation of mutations) if ("json" in mutation) changeJson(holder, mutation);
  let body = new TextEncoder().encode(holder.items.map(textOf).join(""));
  for (const mutation of mutations) if ("bytes" in mutation) body = changeBytes(body, mutation);

  const headers = headersFor(body);
  let host = "localhost";
  for (const mutation of mutations) {
    if ("header" in mutation) {
      if (mutation.header === "drop") headers.delete(mutation.name);
      else {
        const text = valueOf(mutation.value, lookup);
        if (mutation.header === "set") headers.set(mutation.name, text);
        else headers.append(mutation.name, text);
      }
    } else if ("method" in mutation) method = mutation.method;
    else if ("host" in mutation) host = mutation.host;
    else if ("path" in mutation) target = changePath(target, mutation);
  }
  const bodiless = /^(get|head)$/i.test(method) || body.length === 0;
  return { url: `http://${host}${target}`, method, headers, body: bodiless ? undefined : body, delivery };
}

function valueOf(value: Value, lookup: Lookup): string {
  if (typeof value === "string") return value;
  if ("idOf" in value) return lookup.idOf(value.idOf).slice(value.cut);
  return `${value.before}${lookup.tokenOf(value.tokenOf)}${value.behind}`;
}

function changePath(path: string, mutation: PathMutation): string {
  if (mutation.path === "set") return mutation.value;
  // The first slash stays, or the path would be part of the host.
  const at = 1 + mutation.at % path.length;
  if (mutation.path === "truncate") return path.slice(0, at);
  if (mutation.path === "insert") return `${path.slice(0, at)}${mutation.what}${path.slice(at)}`;
  const code = path.charCodeAt(at);
  if (!(code < 128)) return path;
  return `${path.slice(0, at)}%${code.toString(16).padStart(2, "0")}${path.slice(at + 1)}`;
}

/** JSON that need not be any: numbers beyond numbers, keys that come twice. */
type Json =
  | { raw: string }
  | { items: Json[] }
  | { fields: { key: string; value: Json }[] };

function jsonOf(value: unknown): Json {
  if (Array.isArray(value)) return { items: value.map(jsonOf) };
  if (typeof value !== "object" || value === null) return { raw: JSON.stringify(value) };
  return { fields: Object.entries(value).map(([key, value]) => ({ key, value: jsonOf(value) })) };
}

function textOf(json: Json): string {
  if ("raw" in json) return json.raw;
  if ("items" in json) return `[${json.items.map(textOf).join()}]`;
  return `{${json.fields.map(({ key, value }) => `"${key}":${textOf(value)}`).join()}}`;
}

/** Where a value stands. */
interface Slot {
  readonly list: Json[] | { key: string; value: Json }[];
  readonly index: number;
}

function* slotsOf(json: Json): Generator<Slot> {
  if ("raw" in json) return;
  const list = "items" in json ? json.items : json.fields;
  for (const [index, item] of list.entries()) {
    yield { list, index };
    yield* slotsOf("key" in item ? item.value : item);
  }
}

function read({ list, index }: Slot): Json {
  const item = list[index]!;
  return "key" in item ? item.value : item;
}

function write({ list, index }: Slot, value: Json): void {
  const item = list[index]!;
  if ("key" in item) item.value = value;
  else (list as Json[])[index] = value;
}

function changeJson(holder: Json, mutation: JsonMutation): void {
  const slots = [...slotsOf(holder)];
  if (mutation.json === "set") return setField(slots.map(read), mutation);
  const slot = slots[mutation.at % slots.length];
  if (slot === undefined) return;
  const item = slot.list[slot.index]!;
  switch (mutation.json) {
    case "replace":
      return write(slot, { raw: mutation.raw });
    case "drop":
      return void slot.list.splice(slot.index, 1);
    case "rename":
      if ("key" in item) item.key = mutation.key;
      return;
    case "double": {
      const value = mutation.raw === undefined ? read(slot) : { raw: mutation.raw };
      return insertBehind(slot, "key" in item ? { key: item.key, value } : value);
    }
    case "repeat":
      for (let left = mutation.times - 1; left > 0; left--) insertBehind(slot, item);
      return;
    case "wrap": {
      const [open, close] = mutation.key === undefined ? ["[", "]"] : [`{"${mutation.key}":`, "}"];
      const text = textOf(read(slot));
      return write(slot, { raw: `${open.repeat(mutation.depth)}${text}${close.repeat(mutation.depth)}` });
    }
    case "swap": {
      const other = slots[mutation.with % slots.length]!;
      // As text: one may lie within the other.
      const [here, there] = [textOf(read(slot)), textOf(read(other))];
      write(slot, { raw: there });
      return write(other, { raw: here });
    }
    case "graft":
      return write(slot, jsonOf((TEMPLATES[mutation.from] as Template).body ?? null));
  }
}

/** Sets a field of one of the messages, which are the objects that say that they are. */
function setField(
  values: readonly Json[],
  { at, key, raw }: { at: Place; key: string; raw: string },
): void {
  const messages = values.flatMap((value) =>
    "fields" in value && value.fields.some(({ key }) => key === "jsonrpc") ? [value.fields] : []
  );
  const fields = messages[at % messages.length];
  if (fields === undefined) return;
  const field = fields.find((field) => field.key === key);
  if (field === undefined) fields.push({ key, value: { raw } });
  else field.value = { raw };
}

function insertBehind({ list, index }: Slot, item: Json | { key: string; value: Json }): void {
  (list as unknown[]).splice(index + 1, 0, item);
}

function changeBytes(
  body: Uint8Array<ArrayBuffer>,
  mutation: ByteMutation,
): Uint8Array<ArrayBuffer> {
  const at = mutation.at % (body.length + 1);
  const before = body.subarray(0, at);
  switch (mutation.bytes) {
    case "flip":
      return Uint8Array.from(body, (byte, index) => index === at ? byte ^ (1 << mutation.bit) : byte);
    case "delete":
      return concat(before, body.subarray(at + mutation.count));
    case "insert":
      return concat(before, mutation.what, body.subarray(at));
    case "duplicate":
      return concat(body.subarray(0, at + mutation.count), body.subarray(at));
    case "truncate":
      return concat(before);
    case "splice": {
      const other = new TextEncoder().encode(
        JSON.stringify((TEMPLATES[mutation.from] as Template).body ?? ""),
      );
      return concat(before, other.subarray(mutation.end % other.length));
    }
  }
}

function concat(...parts: readonly ArrayLike<number>[]): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(parts.flatMap((part) => Array.from(part)));
}
