/**
 * `POST /servers/reload`: reads the servers file again. `docs/sessions-api.md` describes it.
 *
 * @module
 */
import type { ServersDiff } from "../config/types.ts";
import type { Failure } from "../errors.ts";
import type { Identity } from "./access.ts";

/** Reads the servers file again and applies it: what changed, what is wrong with it, or that it is too late. */
export type Reload = () => Promise<
  | { readonly kind: "applied"; readonly diff: ServersDiff; readonly warnings: readonly string[] }
  | { readonly kind: "wrong"; readonly reason: string }
  | { readonly kind: "shuttingDown" }
>;

/** Answers the request of somebody who may administer; to others it is forbidden. */
export async function reloadServers(reload: Reload, { isAdmin }: Identity): Promise<Response | Failure> {
  if (!isAdmin) return { code: "adminOnly" };
  const outcome = await reload();
  switch (outcome.kind) {
    case "applied":
      return Response.json({ ...outcome.diff, warnings: outcome.warnings }, {
        headers: { "cache-control": "no-store" },
      });
    case "wrong":
      return { code: "serversFileWrong", detail: outcome.reason };
    case "shuttingDown":
      return { code: "shuttingDown" };
  }
}
