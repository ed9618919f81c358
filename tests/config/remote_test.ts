/**
 * What an entry with a url may say beside it.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { loadServers } from "../../config/servers.ts";
import { makeCertificates } from "../fixtures/certificates.ts";
import { refusal, serversOf } from "./helpers.ts";

const fileOf = (entry: unknown) => ({ mcpServers: { far: entry } });
const read = (entry: Record<string, unknown>) =>
  serversOf(fileOf({ url: "https://h/mcp", ...entry })).servers[0]!.transport;

/** The same with other files beside the servers file. */
function withFiles(entry: Record<string, unknown>, files: Record<string, string>) {
  return loadServers("mcp-servers.json", {
    named: true,
    env: { CA: "ca.pem" },
    cwd: "/etc/sojourn",
    readFile: (path) => {
      const text = path === "/etc/sojourn/mcp-servers.json" ? JSON.stringify(fileOf(entry)) : files[path];
      if (text === undefined) throw new Deno.errors.NotFound();
      if (text === "FOLDER") throw new Deno.errors.IsADirectory();
      return new TextEncoder().encode(text);
    },
  });
}

Deno.test("Every key of a remote server is read", () => {
  assertEquals(
    read({
      type: "sse",
      headers: { "X-Key": "v" },
      forwardHeaders: ["Authorization", "x-tenant"],
      connectTimeoutMs: 1,
      readTimeoutMs: 3_600_000,
    }),
    {
      type: "sse",
      url: "https://h/mcp",
      headers: { "X-Key": "v" },
      forwardHeaders: ["authorization", "x-tenant"],
      connectTimeoutMs: 1,
      readTimeoutMs: 3_600_000,
      caCerts: undefined,
    },
  );
});

for (
  const name of [
    ...["connection", "Keep-Alive", "transfer-encoding", "TE", "upgrade", "host", "Content-Length"],
    ...["cookie", "Set-Cookie", "mcp-session-id", "MCP-Protocol-Version", "mcp-anything", "last-event-id"],
    ...[
      "proxy-authorization",
      "origin",
      "accept",
      "content-type",
      "sec-fetch-site",
      "expect",
      "a b",
      "",
      "ä",
    ],
  ]
) {
  Deno.test(`A client's header ${JSON.stringify(name)} is never handed on`, () => {
    const line = refusal(() => read({ forwardHeaders: ["x-fine", name] }));
    assertStringIncludes(line, "mcpServers.far.forwardHeaders[1]: ");
    assertStringIncludes(line, "is not allowed: a header's name that may be handed on");
  });
}

for (const name of ["mcp-session-id", "Host", "content-length", "connection", "last-event-id"]) {
  Deno.test(`An entry does not set the header ${name}`, () => {
    const line = refusal(() => read({ headers: { [name]: "s3cret" } }));
    assertStringIncludes(line, "this name is not allowed");
    assert(!line.includes("s3cret"));
  });
}

// [entry, what is said of it].
const MISTAKES: [Record<string, unknown>, string][] = [
  [
    { forwardHeaders: "authorization" },
    '"authorization" is not allowed: a list of headers\' names, such as ["authorization"]',
  ],
  [{ forwardHeaders: [1] }, "1 is not allowed: a header's name"],
  [{ forwardHeaders: ["a", "A"] }, "each header once, upper and lower case being the same"],
  [{ forwardHeaders: Array.from({ length: 33 }, (_, n) => `x-${n}`) }, "at most 32 names"],
  [
    { headers: { "X-Key": "s3cret" }, forwardHeaders: ["x-key"] },
    '"x-key" is not allowed: "headers" sets it',
  ],
  [{ connectTimeoutMs: 0 }, "0 is not allowed: whole milliseconds from 1 to 120000"],
  [{ connectTimeoutMs: 120_001 }, "120001 is not allowed: whole milliseconds from 1 to 120000"],
  [{ readTimeoutMs: 1.5 }, "1.5 is not allowed: whole milliseconds from 1 to 3600000"],
  [{ readTimeoutMs: "5s" }, '"5s" is not allowed: whole milliseconds from 1 to 3600000'],
  [{ caFile: "" }, '"" is not allowed: a file\'s path'],
  [{ backend: { prewarm: 1 } }, '.backend: is not allowed beside "url"'],
  [{ backend: { shared: 1 } }, 'a server at a "url" has no processes to start ahead or to share'],
];
for (const [entry, said] of MISTAKES) {
  Deno.test(`A remote entry with ${JSON.stringify(entry).slice(0, 80)} is refused`, () => {
    const line = refusal(() => read(entry));
    assertStringIncludes(line, said);
    assert(!line.includes("s3cret"));
  });
}

Deno.test("One backend a session may be written beside a url, for that is how it is", () => {
  assertEquals(serversOf(fileOf({ url: "http://h", backend: "perSession" })).warnings, []);
});

Deno.test("What means something only beside url is warned of beside command", () => {
  const entry = {
    command: "x",
    forwardHeaders: ["a"],
    connectTimeoutMs: 5,
    readTimeoutMs: 5,
    caFile: "ca.pem",
  };
  const { warnings } = serversOf(fileOf(entry));
  assertEquals(
    warnings.map((line) => /far\.(\w+): has no effect beside "command"$/.exec(line)?.[1]),
    ["forwardHeaders", "connectTimeoutMs", "readTimeoutMs", "caFile"],
  );
});

Deno.test("Certificates are read from the folder of the file, also where a variable names them", async () => {
  const { ca } = await makeCertificates();
  const entry = { url: "https://h", caFile: "${CA}" };
  const { servers, warnings } = withFiles(entry, { "/etc/sojourn/ca.pem": ca });
  const { transport } = servers[0]!;
  assertEquals([transport.type !== "stdio" && transport.caCerts, warnings], [ca, []]);
  const plain = withFiles({ ...entry, url: "http://h" }, { "/etc/sojourn/ca.pem": ca });
  assertStringIncludes(plain.warnings.join(), "caFile: has no effect: the URL is not https");
});

Deno.test("A file of certificates that is none stops the start, and the line names it", () => {
  const broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
  const files = { "/a": "-----BEGIN PRIVATE KEY-----", "/b": broken, "/c": "FOLDER", "/d": "" };
  const said = ["/nowhere", "/a", "/b", "/c", "/d"].map((caFile) =>
    refusal(() => withFiles({ url: "https://h", caFile }, files)).split("far.caFile: ")[1]
  );
  const of = (file: string, why: string) =>
    `"${file}" is not allowed: a file with certificates in PEM form; ${why}`;
  assertEquals(said, [
    of("/nowhere", "there is no such file"),
    of("/a", "it holds none that can be read"),
    of("/b", "it holds none that can be read"),
    of("/c", "the file: cannot be read: it is a folder"),
    of("/d", "it holds none that can be read"),
  ]);
});

Deno.test("A disabled entry needs no certificates", () => {
  const { servers } = withFiles({ url: "https://h", caFile: "${NOPE}", disabled: true }, {});
  assertEquals(servers[0]?.disabled, true);
});
