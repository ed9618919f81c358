import { assert, assertEquals, assertThrows } from "@std/assert";
import { ConfigError } from "../../config/config_error.ts";
import { loadServers, type ServersOptions, type ServersResult } from "../../config/servers.ts";

/** The error line of what must be refused. */
export function refusal(attempt: () => unknown): string {
  const { message } = assertThrows(attempt, ConfigError);
  assert(!/[\r\n]/.test(message), `more than one line: ${message}`);
  return message;
}

/** Reads a servers file that holds `content`, in the folder `/etc/sojourn`. */
export function serversOf(content: unknown, options: Partial<ServersOptions> = {}): ServersResult {
  const text = typeof content === "string" ? content : JSON.stringify(content);
  return loadServers("mcp-servers.json", {
    named: false,
    env: {},
    cwd: "/etc/sojourn",
    readFile: (path) => {
      assertEquals(path, "/etc/sojourn/mcp-servers.json");
      return new TextEncoder().encode(text);
    },
    ...options,
  });
}

/** Fails as the file system does. */
export function failing(error: Error): () => never {
  return () => {
    throw error;
  };
}
