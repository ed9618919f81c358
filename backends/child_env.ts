/**
 * What a child gets of the gateway's environment, and which program its command names.
 *
 * @module
 */
import type { StdioServer } from "../config/types.ts";

/**
 * The variables that are handed on. They say where things are: who the user is, programs, caches, certificates.
 * Nothing in the list can hold a credential; that keeps proxies and registries out, whose URLs may. A server that
 * needs more names it under `env`.
 */
const HANDED_ON = new Set([
  ...["HOME", "LOGNAME", "USER", "PATH", "SHELL", "TERM", "TZ", "TMPDIR", "TMP", "TEMP"],
  ...["LANG", "LANGUAGE"],
  ...["XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"],
  ...["XDG_CONFIG_DIRS", "XDG_DATA_DIRS"],
  // Certificates: without them a launcher behind a company's gateway cannot download its package.
  ...["SSL_CERT_FILE", "SSL_CERT_DIR", "NIX_SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"],
  ...["NODE_EXTRA_CA_CERTS", "DENO_CERT", "DENO_TLS_CA_STORE"],
  // Caches and installations of deno, npx and uvx, and of the version managers that put them on the PATH.
  ...["DENO_DIR", "DENO_INSTALL", "NPM_CONFIG_CACHE", "npm_config_cache", "UV_CACHE_DIR", "UV_TOOL_DIR"],
  ...["UV_PYTHON_INSTALL_DIR", "NVM_DIR", "VOLTA_HOME", "PYENV_ROOT", "ASDF_DIR", "ASDF_DATA_DIR"],
]);

/** The locale's parts. */
const HANDED_ON_PREFIX = "LC_";

/** Names a backend in the environment of all that it starts. Children inherit it, also when they move away. */
export const MARKER_VARIABLE = "SOJOURN_BACKEND";

/**
 * The whole environment of a child.
 *
 * @param gatewayEnv The gateway's own.
 * @param serverEnv What the servers file adds; it wins over the gateway's.
 * @param marker Unique for this backend; wins over everything.
 */
export function childEnv(
  gatewayEnv: Readonly<Record<string, string>>,
  serverEnv: Readonly<Record<string, string>>,
  marker: string,
): Record<string, string> {
  const handedOn = Object.entries(gatewayEnv).filter(([name]) =>
    HANDED_ON.has(name) || name.startsWith(HANDED_ON_PREFIX)
  );
  return { ...Object.fromEntries(handedOn), ...serverEnv, [MARKER_VARIABLE]: marker };
}

/** What {@link programOf} needs to know of the runtime. */
export interface Runtime {
  /** Whether the gateway is a compiled binary: then it is no Deno that could run a server. */
  readonly standalone: boolean;
  readonly execPath: string;
  /** The `PATH` that the child will see. */
  readonly path: string | undefined;
  isFile(path: string): boolean;
}

/** The program to start, or why there is none. */
export type Program =
  | { readonly state: "found"; readonly file: string }
  | { readonly state: "missing"; readonly detail: string };

/**
 * Which program a command names: `deno` is the Deno that runs the gateway, everything else is left to the system.
 *
 * @returns `missing` only for `deno` under a compiled gateway with none on the `PATH`.
 */
export function programOf(command: StdioServer["command"], runtime: Runtime): Program {
  if (command !== "deno") return { state: "found", file: command };
  if (!runtime.standalone) return { state: "found", file: runtime.execPath };
  for (const folder of (runtime.path ?? "").split(":")) {
    const file = `${folder}/deno`;
    if (folder.startsWith("/") && runtime.isFile(file)) return { state: "found", file };
  }
  return {
    state: "missing",
    detail:
      "could not be started: it needs deno, which a compiled gateway looks for on the PATH, and none is there",
  };
}

/** The runtime that the gateway runs on. */
export function thisRuntime(path: string | undefined): Runtime {
  return { standalone: Deno.build.standalone, execPath: Deno.execPath(), path, isFile };
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}
