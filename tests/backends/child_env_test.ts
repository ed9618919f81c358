import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { childEnv, programOf, type Runtime, thisRuntime } from "../../backends/child_env.ts";

Deno.test("A child gets the allow-list only", () => {
  const gateway = {
    HOME: "/home/a",
    PATH: "/bin",
    LC_ALL: "C",
    DENO_DIR: "/cache",
    XDG_CACHE_HOME: "/xdg",
    SSL_CERT_FILE: "/ca.pem",
    HTTPS_PROXY: "http://user:secret@proxy",
    AWS_SECRET_ACCESS_KEY: "secret",
    API_TOKEN: "secret",
    NPM_CONFIG_REGISTRY: "https://user:secret@registry",
    SSH_AUTH_SOCK: "/agent",
    SOJOURN_BACKEND: "of the gateway itself",
    home: "secret",
  };
  assertEquals(childEnv(gateway, {}, "m1"), {
    HOME: "/home/a",
    PATH: "/bin",
    LC_ALL: "C",
    DENO_DIR: "/cache",
    XDG_CACHE_HOME: "/xdg",
    SSL_CERT_FILE: "/ca.pem",
    SOJOURN_BACKEND: "m1",
  });
});

Deno.test("The server's own variables win, but not over the marker", () => {
  const env = childEnv(
    { PATH: "/bin" },
    { PATH: "/own", API_TOKEN: "mine", SOJOURN_BACKEND: "forged" },
    "m1",
  );
  assertEquals(env, { PATH: "/own", API_TOKEN: "mine", SOJOURN_BACKEND: "m1" });
});

const runtime: Runtime = {
  standalone: false,
  execPath: "/opt/gateway",
  path: "bin:/usr/bin::/usr/local/bin",
  isFile: (path) => ["bin/deno", "/deno", "/usr/local/bin/deno"].includes(path),
};

Deno.test("deno is the Deno that runs the gateway", () => {
  assertEquals(programOf("deno", runtime), { state: "found", file: "/opt/gateway" });
});

Deno.test("Under a compiled gateway deno is the first on the PATH, relative folders left out", () => {
  assertEquals(programOf("deno", { ...runtime, standalone: true }), {
    state: "found",
    file: "/usr/local/bin/deno",
  });
});

for (const path of ["/usr/bin", "", undefined]) {
  Deno.test(`Under a compiled gateway with no deno on the PATH (${path}) there is a clear error`, () => {
    const program = programOf("deno", { ...runtime, standalone: true, path });
    assert(program.state === "missing");
    assertStringIncludes(program.detail, "could not be started: it needs deno");
  });
}

Deno.test("Every other command is left to the system", () => {
  for (const command of ["npx", "./deno", "/usr/bin/deno", "denox"]) {
    assertEquals(programOf(command, { ...runtime, standalone: true }), { state: "found", file: command });
  }
});

Deno.test("This runtime knows files from folders", () => {
  const { isFile, execPath } = thisRuntime(undefined);
  assertEquals([isFile(execPath), isFile("/"), isFile("/no/such")], [true, false, false]);
});
