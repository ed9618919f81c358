/**
 * The messages of the clients and servers of the routing tests: no two have the same text.
 *
 * @module
 */
import type { RequestId } from "../../protocol/jsonrpc.ts";
import type { Ask, SessionCommand } from "./routing_commands.ts";

/** Where messages name the task that they belong to. */
const RELATED_TASK = "io.modelcontextprotocol/related-task";

/** What the messages of these tests have under `params`. */
interface Params {
  readonly serial?: number;
  readonly protocolVersion?: string;
  readonly requestId?: RequestId;
  readonly reason?: string;
  readonly progressToken?: RequestId;
  readonly progress?: number;
  readonly taskId?: string;
  readonly data?: string;
  readonly _meta?: {
    readonly progressToken?: RequestId;
    readonly [RELATED_TASK]?: { readonly taskId: string };
  };
}

/** Any message of these tests. */
export interface Fields {
  readonly id?: RequestId;
  readonly method?: string;
  readonly params?: Params;
  readonly result?: { readonly serial?: number };
  readonly error?: {
    readonly code: number;
    readonly message: string;
    readonly data?: { readonly serial?: number };
  };
}

/** A message as text, as `FakeBackend.says` encodes it too. */
export function textOf(fields: Fields): string {
  return JSON.stringify({ jsonrpc: "2.0", ...fields });
}

/** The task that a message of a server is related to. */
export function relatedTask(params: Fields["params"]): string | undefined {
  return params?._meta?.[RELATED_TASK]?.taskId;
}

/** The number of a message of a client or a server; undefined where the gateway made it. */
export function serialOf({ params, result, error }: Fields): number | undefined {
  return (params ?? result ?? error?.data)?.serial;
}

/** Makes messages, each with a number of its own. Numbers rise. */
export class Messages {
  #serial = 0;

  initialize(id: RequestId, protocolVersion: string): { text: string; serial: number } {
    const serial = ++this.#serial;
    return { serial, text: textOf({ id, method: "initialize", params: { protocolVersion, serial } }) };
  }

  request({ id, token, task }: Ask): string {
    const params = {
      serial: ++this.#serial,
      ...(task !== undefined && { taskId: task }),
      ...(token !== undefined && { _meta: { progressToken: token } }),
    };
    return textOf({ id, method: task === undefined ? "tools/call" : "tasks/result", params });
  }

  notification(): string {
    return textOf({ method: "notifications/roots/list_changed", params: { serial: ++this.#serial } });
  }

  cancellation(requestId: RequestId): string {
    return textOf(this.#cancellation(requestId));
  }

  answer(id: RequestId, isError: boolean): string {
    return textOf(this.#answer(id, isError));
  }

  /** What a server says by a command; `answering` is the request that it answers. */
  said(command: SessionCommand, answering: RequestId | undefined): Fields[] {
    switch (command.do) {
      case "serverAnswers":
        return Array.from(
          { length: answering === undefined ? 0 : command.twice ? 2 : 1 },
          () => this.#answer(answering!, command.isError),
        );
      case "serverAnswersStray":
        return [this.#answer(command.id, false)];
      case "serverReports": {
        const serial = ++this.#serial;
        const params = { progressToken: command.token, progress: serial, serial };
        return [{ method: "notifications/progress", params }];
      }
      case "serverAsks":
        return [{ id: command.id, method: command.method, params: this.#related(command.task) }];
      case "serverTakesBack":
        return [this.#cancellation(command.id)];
      case "serverTells": {
        const { times, size, task } = command;
        const data = size === 0 ? {} : { data: "é".repeat(size) };
        return Array.from(
          { length: times },
          () => ({ method: "notifications/message", params: { ...this.#related(task), ...data } }),
        );
      }
      default:
        return [];
    }
  }

  #related(task: string | undefined): Params {
    const serial = ++this.#serial;
    return task === undefined ? { serial } : { serial, _meta: { [RELATED_TASK]: { taskId: task } } };
  }

  #cancellation(requestId: RequestId): Fields {
    return { method: "notifications/cancelled", params: { requestId, serial: ++this.#serial } };
  }

  #answer(id: RequestId, isError: boolean): Fields {
    const serial = ++this.#serial;
    return isError
      ? { id, error: { code: -1, message: "no", data: { serial } } }
      : { id, result: { serial } };
  }
}
