/**
 * What a client asks of its server for good, and what another server in its place is to be asked then.
 *
 * @module
 */

/** What another server is asked, in order: a method and its value each. */
export type Standing = readonly string[];

const LEVELS = ["debug", "info", "error"];

/** A request, and what it changes once the server has agreed. */
export function standingRequest(
  what: "setLevel" | "subscribe" | "unsubscribe",
  id: number,
): { readonly method: string; readonly params: object; readonly standing: (known: Standing) => Standing } {
  const uri = `x:${id}`;
  const word = `resources/subscribe ${uri}`;
  switch (what) {
    case "setLevel": {
      const method = "logging/setLevel";
      const level = LEVELS[id]!;
      const standing = (known: Standing) => [
        `${method} ${level}`,
        ...known.filter((word) => !word.startsWith(method)),
      ];
      return { method, params: { level }, standing };
    }
    case "subscribe": {
      const standing = (known: Standing) => known.includes(word) ? known : [...known, word];
      return { method: "resources/subscribe", params: { uri }, standing };
    }
    case "unsubscribe": {
      const standing = (known: Standing) => known.filter((known) => known !== word);
      return { method: "resources/unsubscribe", params: { uri }, standing };
    }
  }
}
