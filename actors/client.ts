/**
 * The contract between a session and whoever speaks to its client: where messages to the client go.
 *
 * The routes implement it over HTTP; tests implement it over arrays. None of its methods throws, and all of them
 * do nothing once the client is gone or the reply is complete, so a session may answer late without asking first.
 *
 * @module
 */
import type { Failure } from "../errors.ts";

/** What was lost when a stream was cut. */
export interface StreamLoss {
  readonly bytes: number;
  readonly stalledMs: number;
}

/**
 * Who wants to know whether the reader of a stream keeps up: the session, which keeps its server from saying more.
 *
 * May be called from inside the methods of the stream, and after it was closed as long as something waits in it.
 */
export interface StreamWatch {
  /** More waits for the reader than may: nothing further should be sent. */
  full(): void;
  /** It is no longer full, because the reader went on or is gone, or the stream was cut. Follows each `full`. */
  room(): void;
  /** The stream was cut, since nothing was read for so long; what waited is lost. */
  cut(loss: StreamLoss): void;
}

/** Numbers and keeps what goes out on one stream, so that a client that lost its connection can have the rest. */
export interface StreamLog {
  /** The id that stands before those of all events. */
  readonly primingId: string;
  /** The id of its last event; the priming one's where there was none. */
  readonly lastId: string;
  /** Keeps a message. @returns The id of its event. */
  add(text: string): string;
  /** No more will come. Idempotent. */
  finish(): void;
}

/** One event as it went out. */
export interface LoggedEvent {
  readonly id: string;
  readonly text: string;
}

/** One open stream of messages to a client. */
export interface ClientStream {
  /** False as soon as the client is known to be gone or the stream was closed. */
  readonly open: boolean;
  /** Sends one message (JSON text on one line). */
  send(text: string): void;
  /** Ends the stream. Idempotent. */
  close(): void;
  /** Names who is told how the reader keeps up. Called before anything is sent. */
  watch(watch: StreamWatch): void;
  /** Whether its connection was ended on purpose: its client was asked to come back for the rest, and is expected. */
  readonly away: boolean;
  /** Has what is sent numbered and kept. Called before anything is sent; `begin` is called if a stream comes of it. */
  record(begin: () => StreamLog): void;
  /** Whether what is sent after its connection was lost is kept for the client to come back for. */
  readonly resumable: boolean;
  /** Goes on with a stream whose connection was lost, beginning with what was missed. Instead of `record`. */
  replay(log: StreamLog, missed: readonly LoggedEvent[]): void;
  /** Ends the connection, not the stream: that goes on on another one. What waits in it is lost. */
  drop(): void;
}

/**
 * Where one POSTed message is answered. Exactly one of `accept`, `answer` and `fail` completes it.
 *
 * `send` before that (the first message that belongs to the request) or `stream` turns the reply into a stream of
 * events; the answer then becomes its last event.
 */
export interface Reply extends ClientStream {
  /** The client lost its connection and came back on another one: the rest goes out there. */
  resume(stream: ClientStream): void;
  /**
   * Tells the client the id of the session that was opened for it, with the answer or the start of the stream; an
   * error (`fail`) names no session. `undefined` takes it back.
   */
  name(sessionId: string | undefined): void;
  /** The message was taken and has no answer (a notification, a response). */
  accept(): void;
  /** Starts the stream without a message, for an answer that takes long. */
  stream(): void;
  /** Completes the reply with the server's answer. */
  answer(text: string): void;
  /** Calls back once if the client goes away before the reply has begun, as far as that can be seen. */
  whenGone(gone: () => void): void;
  /** Completes the reply with an error of the gateway's own, under the request's id where it has one. */
  fail(failure: Failure): void;
}
