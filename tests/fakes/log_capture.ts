/**
 * The gateway's log, for tests that read it.
 *
 * @module
 */
import { configure, type LogRecord, reset } from "@logtape/logtape";

/** Gathers what is logged until it is disposed. */
export class LogCapture implements AsyncDisposable {
  readonly records: LogRecord[] = [];

  static async start(): Promise<LogCapture> {
    const capture = new LogCapture();
    await configure({
      reset: true,
      sinks: { capture: (record: LogRecord) => void capture.records.push(record) },
      loggers: [
        { category: "sojourn", sinks: ["capture"], lowestLevel: "debug" },
        { category: ["logtape", "meta"], sinks: [], lowestLevel: "fatal" },
      ],
    });
    return capture;
  }

  /** The messages so far, as text. */
  get lines(): string[] {
    return this.records.map(({ message }) => message.join(""));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await reset();
  }
}
