import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { encodeNotification } from "../../protocol/jsonrpc.ts";
import { eventually } from "../fakes/eventually.ts";
import { fixture, program } from "../fixtures/mod.ts";
import { FORCE_PACE, OpenChild, runs, TEST_PACE } from "./harness.ts";

const echo = fixture("echo_server");

Deno.test("A message goes to the child and its answer comes back", async () => {
  await using child = new OpenChild(echo);
  assertEquals((await child.request("initialize")).result?.serverInfo, { version: "1.0.0", name: "echo" });
  assertEquals(await child.call("echo", { message: "grüße €😀\u2028" }), "grüße €😀\u2028");
  await eventually(() => child.backend.queuedBytes === 0, "the queue to empty");
});

Deno.test("Messages keep their order both ways", async () => {
  await using child = new OpenChild(program("cat"));
  const texts = Array.from(
    { length: 5_000 },
    (_, n) => encodeNotification("n", { n, text: "ä".repeat(n % 50) }),
  );
  for (const text of texts) assert(child.backend.send(text));
  await eventually(() => child.messages.length === texts.length, "all messages");
  assertEquals(child.messages.map((message) => message.text), texts);
});

Deno.test("A line of 5 MiB passes both ways", async () => {
  await using child = new OpenChild(echo);
  const size = 5 * 1024 * 1024;
  assertEquals((await child.call("big", { bytes: size })).length, size);
  const message = "é".repeat(size / 2);
  assert(await child.call("echo", { message }) === message);
});

Deno.test("A character that is cut between two writes stays whole", async () => {
  const script = String.raw`printf '{"jsonrpc":"2.0","method":"\303'; sleep 0.1; printf '\251"}\r\n'; cat`;
  await using child = new OpenChild(program("sh", "-c", script));
  await eventually(() => child.messages.length === 1, "the message");
  assertEquals(child.messages[0]?.text, '{"jsonrpc":"2.0","method":"é"}');
});

Deno.test("What is no message is garbage, and what follows it is not touched", async () => {
  const script = String.raw`printf 'hello\n[]\n\377\n{"jsonrpc":"2.0","method":"m"}\n%0300d\n' 1; cat`;
  await using child = new OpenChild(program("sh", "-c", script));
  await eventually(() => child.garbages.length === 4, "the garbage");
  assertEquals(child.garbages, ["hello", "[]", "\uFFFD", "0".repeat(200)]);
  assertEquals(child.order, ["garbage", "garbage", "garbage", "message", "garbage"]);
});

Deno.test("A batch of a server is taken apart", async () => {
  const script = `printf '[{"jsonrpc":"2.0","method":"a"},7,{"jsonrpc":"2.0","method":"b"}]\n'; cat`;
  await using child = new OpenChild(program("sh", "-c", script));
  await eventually(() => child.order.length === 2, "both messages");
  assertEquals(child.order, ["message", "message"]);
});

Deno.test("A line of brackets as deep as may be is garbage, and no more than that", async () => {
  const brackets = (char: string) => `head -c 100000 /dev/zero | tr '\\0' '${char}'`;
  const script = `${brackets("[")}; ${brackets("]")}; printf '\n{"jsonrpc":"2.0","method":"a"}\n'; cat`;
  await using child = new OpenChild(program("sh", "-c", script));
  await eventually(() => child.order.length === 2, "the line and the message");
  assertEquals(child.order, ["garbage", "message"]);
});

Deno.test("A server that prints garbage is told apart", async () => {
  await using child = new OpenChild(fixture("garbage"));
  await eventually(() => child.garbages.length === 3, "the garbage");
  assertEquals(child.garbages[0], "Server is starting…");
});

Deno.test("A line over the bound ends the backend at once, and the close its process", async () => {
  const child = new OpenChild(program("sh", "-c", "yes 1 | tr -d '\\n'; cat"), { maxLineBytes: 1024 * 1024 });
  assertEquals(await child.exited(), { cause: "overlong", detail: "sent a line longer than 1 MiB" });
  assertEquals(child.backend.send("{}"), false);
  await child.backend.close(FORCE_PACE);
  assertEquals(runs(child.backend.pid), false);
  assertEquals(child.order, ["exit"]);
});

const starts: [
  what: string,
  server: Parameters<typeof fixture>[1] & ReturnType<typeof program>,
  detail: string,
][] = [
  ["an unknown command", program("no-such-command-here"), 'no such command "no-such-command-here"'],
  ["an unknown path", program("/no/such/command"), 'no such command "/no/such/command"'],
  ["a missing folder", { ...program("cat"), cwd: "/no/such/folder" }, 'no such folder "/no/such/folder"'],
  ["a file that is no program", program("/etc/passwd"), 'permission denied: "/etc/passwd"'],
  ["a folder as command", program("/etc"), 'permission denied: "/etc"'],
  ["a zero byte", program("cat", "a\0secret"), 'ERR_INVALID_ARG_VALUE: "cat"'],
  ["too long an argument", program("cat", "secret".repeat(1_000_000)), 'E2BIG: "cat"'],
];

for (const [what, server, detail] of starts) {
  Deno.test(`A start that fails is reported in a later turn: ${what}`, async () => {
    const child = new OpenChild(server);
    assertEquals(child.order, []);
    assertEquals(await child.exited(), { cause: "spawn", detail: `could not be started: ${detail}` });
    assertEquals(child.backend.pid, undefined);
    assertEquals(child.backend.send("{}"), false);
    assertEquals(child.backend.queuedBytes, 0);
    await child.backend.close();
    assertEquals(child.order, ["exit"]);
  });
}

Deno.test("A missing interpreter is told apart from a missing command", async () => {
  const path = Deno.makeTempFileSync();
  Deno.writeTextFileSync(path, "#!/no/such/interpreter\n");
  Deno.chmodSync(path, 0o755);
  const child = new OpenChild(program(path));
  assertStringIncludes(
    (await child.exited()).detail,
    `the interpreter that "${path}" names in its first line`,
  );
  await child.backend.close();
  Deno.removeSync(path);
});

Deno.test("Closing right after opening a command that does not exist reports the failed start", async () => {
  const child = new OpenChild(program("no-such-command-here"));
  await child.backend.close();
  assertEquals(child.exits[0]?.cause, "spawn");
});

Deno.test("A child that exits at once is reported with its code", async () => {
  await using child = new OpenChild(fixture("exits", { args: ["3"] }));
  assertEquals(await child.exited(), { cause: "exit", detail: "exited with code 3" });
  assertEquals(child.backend.send("{}"), false);
});

Deno.test("Sending to a child that has exited never throws", async () => {
  await using child = new OpenChild(program("true"));
  while (child.backend.send(encodeNotification("n", { text: "x".repeat(100_000) }))) {
    await new Promise((resolve) => setTimeout(resolve));
  }
  assertEquals((await child.exited()).detail, "exited with code 0");
});

Deno.test("An answer that is written right before exiting arrives before the exit", async () => {
  for (let round = 0; round < 5; round++) {
    await using child = new OpenChild(echo);
    assertEquals(await child.call("exit", { code: 4, answer: true }), "bye");
    assertEquals(await child.exited(), { cause: "exit", detail: "exited with code 4" });
    assertEquals(child.order, ["message", "exit"]);
  }
});

Deno.test("Much output right before exiting arrives whole, a last line without line feed too", async () => {
  const script = `i=0; while [ $i -lt 3000 ]; do echo '{"jsonrpc":"2.0","method":"m"}'; i=$((i+1)); done;
    printf '{"jsonrpc":"2.0","method":"last"}'`;
  await using child = new OpenChild(program("sh", "-c", script));
  await child.exited();
  assertEquals(child.messages.length, 3001);
  assertEquals(child.order.at(-1), "exit");
});

Deno.test("A child that is killed from outside is reported by the signal", async () => {
  await using child = new OpenChild(echo);
  await child.request("ping");
  Deno.kill(child.backend.pid!, "SIGKILL");
  assertEquals(await child.exited(), { cause: "exit", detail: "was ended by SIGKILL" });
});

Deno.test("A grandchild that holds stdout does not hold up the report of the exit", async () => {
  const child = new OpenChild(program("sh", "-c", "sleep 100000 & exit 5"));
  assertEquals(await child.exited(), { cause: "exit", detail: "exited with code 5" });
  await child.backend.close(FORCE_PACE);
  assertEquals(child.order, ["exit"]);
});

for (
  const [stream, script] of [["stdout", "exec sleep 100000 >&-"], ["stdin", "exec sleep 100000 <&-"]] as const
) {
  Deno.test(`A child that closes its ${stream} and lives is given up`, async () => {
    const child = new OpenChild(program("sh", "-c", script));
    const written = setInterval(() => child.backend.send("{}"), 20);
    assertEquals(await child.exited(), { cause: "exit", detail: `closed its ${stream}` });
    clearInterval(written);
    assert(runs(child.backend.pid));
    await child.backend.close(FORCE_PACE);
    assertEquals(runs(child.backend.pid), false);
    assertEquals(child.order, ["exit"]);
  });
}

Deno.test("Bytes that the child does not read are counted", async () => {
  await using child = new OpenChild(program("sleep", "100000"));
  const text = encodeNotification("n", { text: "ü".repeat(500_000) });
  child.backend.send(text);
  child.backend.send(text);
  await new Promise((resolve) => setTimeout(resolve, 20));
  const bytes = 2 * (new TextEncoder().encode(text).length + 1);
  assert(child.backend.queuedBytes > bytes - 200_000 && child.backend.queuedBytes <= bytes);
});

Deno.test("From close() on nothing is sent; a child that leaves at the end of its stdin is not signalled", async () => {
  const child = new OpenChild(echo);
  await child.request("ping");
  const closed = child.backend.close(TEST_PACE);
  assertEquals(child.backend.send("{}"), false);
  await Promise.all([closed, child.backend.close(TEST_PACE)]);
  assertEquals(child.exits, [{ cause: "exit", detail: "exited with code 0" }]);
  assertEquals(runs(child.backend.pid), false);
  assertEquals(child.backend.queuedBytes, 0);
});

Deno.test("The child gets the allow-list, its own variables and the marker, and nothing else", async () => {
  Deno.env.set("GATEWAY_SECRET", "do not hand on");
  Deno.env.set("HTTPS_PROXY_TEST", "http://user:secret@proxy");
  try {
    await using child = new OpenChild(fixture("echo_server", { env: { OWN: "value", LC_TEST: "mine" } }));
    const env = JSON.parse(await child.call("env"));
    assertEquals(env.OWN, "value");
    assertEquals(env.LC_TEST, "mine");
    assertEquals(env.PATH, Deno.env.get("PATH"));
    assert(/^[0-9a-f-]{36}$/.test(env.SOJOURN_BACKEND));
    assertEquals(Object.keys(env).filter((name) => name.includes("SECRET") || name.includes("PROXY")), []);
  } finally {
    Deno.env.delete("GATEWAY_SECRET");
    Deno.env.delete("HTTPS_PROXY_TEST");
  }
});

Deno.test("The command deno may begin with an option", async () => {
  await using child = new OpenChild({
    ...echo,
    args: ["-A", ...echo.args.filter((arg) => arg.startsWith("/"))],
  });
  assertEquals(await child.call("echo", { message: "hi" }), "hi");
});

Deno.test("200 children leave no process, no file descriptor and no timer", async () => {
  const descriptors = () => [...Deno.readDirSync("/proc/self/fd")].length;
  await (await openMany(20)).closeAll();
  const before = descriptors();
  for (let round = 0; round < 4; round++) await (await openMany(50)).closeAll();
  await eventually(() => descriptors() <= before, "the file descriptors to be closed");
});

async function openMany(count: number) {
  const children = Array.from({ length: count }, () => new OpenChild(program("cat")));
  await Promise.all(children.map(async (child) => {
    child.backend.send(encodeNotification("n"));
    await eventually(() => child.messages.length === 1, "the echo");
  }));
  return {
    closeAll: async () => {
      await Promise.all(children.map((child) => child.backend.close(TEST_PACE)));
      assertEquals(children.filter((child) => runs(child.backend.pid)), []);
      for (const child of children) assertEquals(child.exits[0]?.detail, "exited with code 0");
    },
  };
}
