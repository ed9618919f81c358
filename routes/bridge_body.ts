/**
 * What a request to `/bridge` says: which server, and one request for it.
 *
 * The parameters stay the text that they came as, so that numbers keep their digits and keys their order.
 *
 * @module
 */
import { z } from "zod";
import type { Failure } from "../errors.ts";
import { asObject, type Params } from "../protocol/jsonrpc.ts";
import { memberText } from "../protocol/members.ts";
import { shown } from "./redact.ts";

/** One request for a server. */
export interface BridgeAsk {
  readonly server: NamedServer | NamedCommand;
  readonly method: string;
  readonly params: Params | undefined;
  /** The same as written. */
  readonly paramsText: string | undefined;
}

/** A server of the servers file. */
export interface NamedServer {
  readonly serverId: string;
}

/** A command, to be run if it is listed. */
export interface NamedCommand {
  readonly serverPath: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

const MAX_METHOD_CHARS = 200;
const MAX_PATH_CHARS = 4_096;
/** Arguments, and variables. */
const MAX_ITEMS = 200;
/** Of all variables together: with much more the system starts nothing. */
const MAX_ENV_CHARS = 65_536;
/** Mistakes that are told at once. */
const MAX_TOLD = 5;

const hasNoNul = (text: string) => !text.includes("\0");
const text = (maxChars: number) => {
  const error = `must be a text of 1 to ${maxChars} characters`;
  return z.string({ error }).refine((text) => text !== "" && text.length <= maxChars && hasNoNul(text), {
    error,
  });
};
const PLAIN = "must be a text without a NUL character";
const plain = z.string({ error: PLAIN }).refine(hasNoNul, { error: PLAIN });

const BODY = z.strictObject({
  serverPath: text(MAX_PATH_CHARS).optional(),
  args: z.array(plain, { error: "must be a list of texts" })
    .max(MAX_ITEMS, { error: `may have ${MAX_ITEMS} items at most` }).optional(),
  env: z.record(z.string(), plain, { error: "must be an object of texts" })
    .refine((env) => Object.values(env).join("").length <= MAX_ENV_CHARS, {
      error: `may have ${MAX_ENV_CHARS} characters at most`,
    })
    .refine((env) => Object.keys(env).length <= MAX_ITEMS, {
      error: `may have ${MAX_ITEMS} variables at most`,
    })
    .refine((env) => Object.keys(env).every((name) => /^[A-Za-z_][A-Za-z0-9_]{0,127}$/.test(name)), {
      error: "must have names of letters, digits and underscores",
    }).optional(),
  serverId: text(MAX_PATH_CHARS).optional(),
  method: text(MAX_METHOD_CHARS),
  params: z.custom<Params>((value) => asObject(value) !== undefined, { error: "must be an object" })
    .optional(),
}, { error: ({ code }) => code === "invalid_type" ? "must be an object" : undefined });

/** Reads a body. What is wrong is told with its place; values only where they are no secret. */
export function readAsk(body: string): BridgeAsk | Failure {
  let given: unknown;
  try {
    given = JSON.parse(body);
  } catch {
    return { code: "badJson" };
  }
  const { success, data, error } = BODY.safeParse(given);
  if (!success) return { code: "badBody", detail: mistakesOf(error, given) };
  const { serverPath, args, env, serverId, method, params } = data;
  const wrong = (detail: string): Failure => ({ code: "badBody", detail });
  // Copying lost it, and what is asked for is not to be left out in silence.
  if (Object.hasOwn((given as { env?: object }).env ?? {}, "__proto__")) {
    return wrong("env must have no variable __proto__");
  }
  if (serverPath === undefined && serverId === undefined) {
    return wrong("it needs serverId, a server of the servers file, or serverPath, a command");
  }
  if (serverPath !== undefined && serverId !== undefined) return wrong("serverPath goes with no serverId");
  if (serverId !== undefined && (args ?? env) !== undefined) {
    return wrong("args and env go with serverPath only");
  }
  if (method === "initialize") return wrong("method must be another one: the gateway initializes by itself");
  if (method.startsWith("notifications/")) {
    return wrong(`method must be one of a request, got ${shown(method)}`);
  }
  return {
    server: serverId !== undefined
      ? { serverId }
      : { serverPath: serverPath!, args: args ?? [], env: env ?? {} },
    method,
    params,
    paramsText: params === undefined ? undefined : memberText(body.trim(), "params"),
  };
}

function mistakesOf({ issues }: z.ZodError, given: unknown): string {
  return issues.slice(0, MAX_TOLD).map((issue) => {
    if (issue.code === "unrecognized_keys") {
      return `unknown ${issue.keys.slice(0, MAX_TOLD).map(shown).join(", ")}`;
    }
    const [name, ...rest] = issue.path;
    if (name === undefined) return `it ${issue.message}`;
    const place = String(name) + rest.map((part) => `[${shown(part)}]`).join("");
    const value = (given as Record<PropertyKey, unknown>)[name];
    if (value === undefined) return `${place} ${issue.message}, got none`;
    // Arguments and variables may hold keys.
    return name === "args" || name === "env" || typeof value === "object"
      ? `${place} ${issue.message}`
      : `${place} ${issue.message}, got ${shown(value)}`;
  }).join("; ");
}
