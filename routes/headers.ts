/**
 * What a request says of the formats that it sends and takes.
 *
 * @module
 */

/** Whether an `Accept` header takes a media type. A missing one takes everything; qualities are not weighed. */
export function accepts(header: string | null, type: string): boolean {
  // What nearly every MCP client sends, word for word.
  if (header === null || header === "application/json, text/event-stream") return true;
  const group = `${type.slice(0, type.indexOf("/"))}/*`;
  return header.split(",").some((range) => {
    const name = range.split(";", 1)[0]!.trim().toLowerCase();
    return name === type || name === group || name === "*/*";
  });
}

/** Whether an `Accept` header names a media type itself: a star is not meant for what is out of the ordinary. */
export function names(header: string | null, type: string): boolean {
  return (header ?? "").split(",").some((range) => range.split(";", 1)[0]!.trim().toLowerCase() === type);
}

/** Whether a `Content-Type` header says JSON. */
export function isJson(header: string | null): boolean {
  return header !== null && header.split(";", 1)[0]!.trim().toLowerCase() === "application/json";
}
