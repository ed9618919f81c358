/**
 * Writes `docs/errors.md` from the table in `errors.ts`: `deno run -A tools/errors_doc.ts`.
 *
 * @module
 */
import { type ErrorEntry, ERRORS } from "../errors.ts";

/** Where the page is. */
export const ERRORS_PAGE = new URL("../docs/errors.md", import.meta.url);

/** The page, made from the table. */
export function errorsPage(): string {
  const rows = Object.entries<ErrorEntry>(ERRORS).map(([name, { status, rpcCode, message, retryAfterS }]) =>
    `| \`${name}\` | ${status} | ${rpcCode} | ${message} | ${
      retryAfterS === undefined ? "" : `${retryAfterS} s`
    } |`
  );
  return [
    "# Errors",
    "",
    "Made from the table in `errors.ts` by `deno run -A tools/errors_doc.ts`; a test holds them together.",
    "",
    "On `/mcp` an error is a JSON-RPC error object, elsewhere `application/problem+json` (RFC 9457). The message may be",
    "followed by a colon and what exactly was wrong. On a stream that has begun the HTTP status is 200 and the error is",
    "its last event. An internal error names a fault by an id, under which the log has the rest.",
    "",
    "| name | status | JSON-RPC code | message | `Retry-After` |",
    "| --- | --- | --- | --- | --- |",
    ...rows,
    "",
  ].join("\n");
}

if (import.meta.main) {
  await Deno.writeTextFile(ERRORS_PAGE, errorsPage());
  await new Deno.Command(Deno.execPath(), { args: ["fmt", "--quiet", ERRORS_PAGE.pathname] }).spawn().status;
}
