/**
 * A session among those that share servers: what it asked, what it should have got, and what its messages say.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import type { Message, RequestId } from "../../protocol/jsonrpc.ts";
import type { Listener } from "../backends/pool_harness.ts";
import type { SharingServer } from "./sharing_server.ts";

export const CANCELLED = "notifications/cancelled";

/** A client's request. */
export interface Asked {
  readonly n: number;
  readonly id: RequestId;
  readonly token: RequestId | undefined;
  readonly method: string;
  readonly uri: string;
  state: "held" | "open" | "answered" | "cancelled";
  isGranted: boolean;
  /** From when on it counts no more, once it was cancelled. */
  lingersUntil: number;
  /** A subscription that was let go of later does not count, whatever becomes of it. */
  isVoid: boolean;
}

/** A question of a server's. */
export interface Question {
  readonly server: SharingServer;
  /** Who it went to; undefined where it went to nobody. */
  readonly party: Party | undefined;
  isOpen: boolean;
  /** How many answers the server should have got. */
  answers: number;
}

/** A session and what is known of it. */
export class Party {
  readonly asked: Asked[] = [];
  /** What it should have got, in order. */
  readonly expected: string[] = [];
  /** What happened before the child was ready. */
  held: (() => void)[] = [];
  readonly lists = new Set<string>();
  level: string | undefined;
  paused = false;
  closed = false;
  constructor(readonly no: number, readonly listener: Listener, readonly server: SharingServer | undefined) {}

  get over(): boolean {
    return this.closed || this.listener.exits.length > 0 || this.server === undefined || this.server.gone;
  }

  holds(uri: string): boolean {
    return this.asked.some((asked) =>
      asked.method === "resources/subscribe" && asked.uri === uri && !asked.isVoid &&
      (asked.state === "open" || asked.isGranted)
    );
  }
}

/** A message in short; text and fields have to say the same. */
export function describe(message: Message): string {
  const json = JSON.parse(message.text);
  if (message.kind === "response") {
    const { result, error } = json;
    assertEquals([json.id, result], [message.id, message.result]);
    const n = result?.n ?? error?.data?.n;
    const what = result?.protocolVersion !== undefined ? "init" : n === undefined ? "local" : `n=${n}`;
    return `answer ${JSON.stringify(message.id)} ${error === undefined ? "" : "refused "}${what}`;
  }
  assertEquals([json.method, json.params], [message.method, message.params]);
  const { n, uri, progressToken, requestId } = message.params ?? {};
  if (message.kind === "request") return `ask ${message.id}`;
  switch (message.method) {
    case "notifications/progress":
      return `progress ${JSON.stringify(progressToken)} n=${n}`;
    case "notifications/resources/updated":
      return `update ${uri}`;
    case "notifications/message":
      return `log ${n}`;
    case CANCELLED:
      return `taken back ${requestId}`;
    case "notifications/custom":
      return `custom ${n}`;
    default:
      return `changed ${message.method.split("/")[1]}`;
  }
}

/** The session that a message says it belongs to. */
export function ofWhom(message: Message): number | undefined {
  const { params, result, error } = JSON.parse(message.text);
  return params?.of ?? result?.of ?? error?.data?.of;
}
