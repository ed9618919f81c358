/**
 * One session from outside: what its client and its server said and saw.
 *
 * @module
 */
import type { EndReason, Session } from "../../actors/supervisor.ts";
import type { FakeBackend } from "../fakes/fake_backend.ts";
import type { FakeReply, FakeStream } from "../fakes/fake_client.ts";

/** Something that a client sent, and where it is answered. */
export interface Mail {
  readonly life: Life;
  readonly what:
    | "open"
    | "request"
    | "initializeAgain"
    | "notification"
    | "cancel"
    | "response"
    | "pong"
    | "stream";
  /** The id of the request, of the request that is cancelled, or of the server's request that is answered. */
  readonly id: string | number;
  /** Marks it, so that it is known wherever it turns up. */
  readonly tag: string;
  readonly reply: FakeReply;
  readonly stream?: FakeStream;
}

/** A message of a server that turned up on a stream of a client. */
export interface Sighting {
  readonly life: Life;
  readonly stream: FakeStream;
  readonly message: Record<string, unknown>;
}

/** The error by which a server learned that its request gets no answer. */
export interface GivenUp {
  readonly life: Life;
  readonly id: string | number;
}

/** One session from outside: everything that its client and its server saw. */
export class Life {
  session: Session | undefined;
  backend: FakeBackend | undefined;
  readonly mail: Mail[] = [];
  /** Where messages to its client can go, replies and standalone streams, and how far each was read. */
  readonly outlets: { readonly mail: Mail; readonly stream: FakeStream; seen: number; lastNo: number }[] = [];
  standalone: FakeStream | undefined;
  /** How much of what the backend received was looked at. */
  received = 0;
  /** How often each mark reached the backend. */
  readonly reached = new Map<string, number>();
  /** The reason of its end, from when it was first seen. */
  reason: EndReason | undefined;

  /** The ids of the gateway's pings, oldest first. */
  readonly pings: string[] = [];

  constructor(readonly no: number, readonly server: number, readonly implicit: boolean) {}

  /** The newest request of that id which is not complete. */
  pending(id: string | number): Mail | undefined {
    return this.mail.findLast((mail) =>
      mail.id === id && (mail.what === "request" || mail.what === "open") &&
      mail.reply.completion === undefined
    );
  }
}

/** What a reply came to, in one word that can be compared. */
export function outcomeOf({ completion }: FakeReply): string {
  if (completion === undefined) return "pending";
  if (completion.kind === "failed") return completion.failure.code;
  if (completion.kind === "accepted") return "accepted";
  const { result, error } = JSON.parse(completion.text);
  return `answered ${result?.tag ?? error?.message ?? "initialize"}`;
}
