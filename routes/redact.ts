/**
 * Texts that came from outside, on their way into an answer or a log.
 *
 * @module
 */

/** What an id of a session looks like (see `newSessionId`), with or without its dashes. */
const SESSION_ID = /[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}/gi;
/** What is shown of a text. */
const MAX_SHOWN = 80;

/** The text without anything that looks like the id of a session: that is a credential, wherever it was put. */
export function withoutIds(text: string): string {
  return text.replace(SESSION_ID, (id) => `${id.slice(0, 4)}…`);
}

/** A value as an error quotes it: without session ids, and not longer than anybody wants to read. */
export function shown(value: unknown): string {
  const text = withoutIds(JSON.stringify(value) ?? String(value));
  return text.length <= MAX_SHOWN ? text : `${text.slice(0, MAX_SHOWN)}…`;
}

/** A text that may be long, cut. */
export function clipped(text: string, maxChars = 500): string {
  return text.length <= maxChars ? text : `${text.slice(0, maxChars)}…`;
}
