/**
 * A sequence of writes that two processes know.
 *
 * @module
 */
import type { SessionStore } from "../../stores/store.ts";
import { contentOf, endOf, sessionOf } from "./sessions.ts";

/** What writes to a store, or to a model of one. */
export type Written = Omit<SessionStore, "close" | "durable">;

/** Does the write of a number, from 0; those before it have been done. Every tenth begins with the same one again. */
export function write(store: Written, number: number): void {
  const round = Math.floor(number / 10);
  const step = number % 10;
  const added = round * 6 + Math.min(step, 6);
  switch (step) {
    case 6: {
      const keys = Array.from({ length: 10 }, (_, n) => added - n);
      return store.update(keys.map((key) => ({ key, lastUsed: number, state: `{"n":${number}}` })));
    }
    case 7:
      return store.saveStreams(added, `[${number}]`);
    case 8:
      return store.end([1, 2].map((n) => endOf(round * 2 + n, number + n)));
    case 9:
      return void store.takeStreams(added - 6);
    default:
      store.add(sessionOf(number, { params: `{"n":${number}}`, limits: `{"n":${number % 7}}` }));
  }
}

/** All that is in it, streams too. The store is of no use afterwards. */
export function lastContentOf(store: Written) {
  const content = contentOf(store);
  const streams = content.sessions.map(({ key }) => store.takeStreams(key));
  return { ...content, streams };
}
