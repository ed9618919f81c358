import { assertEquals } from "@std/assert";
import { peerOf } from "../../routes/peer.ts";

// [address, what it is counted by].
const PEERS: [string, string][] = [
  ["192.0.2.7", "192.0.2.7"],
  ["::ffff:192.0.2.7", "192.0.2.7"],
  ["::FFFF:192.0.2.7", "192.0.2.7"],
  ["::1", "0:0:0:0::/64"],
  ["::", "0:0:0:0::/64"],
  ["2001:db8::1", "2001:db8:0:0::/64"],
  ["2001:db8:a:b:c:d:e:f", "2001:db8:a:b::/64"],
  ["2001:db8:a:b::", "2001:db8:a:b::/64"],
  ["fe80::1%eth0", "fe80:0:0:0::/64"],
  ["1::2:3:4:5:6:7", "1:0:2:3::/64"],
];
for (const [hostname, name] of PEERS) {
  Deno.test(`A peer at ${hostname} is counted by ${name}`, () => {
    assertEquals(peerOf({ remoteAddr: { transport: "tcp", hostname, port: 1 } }), name);
  });
}

Deno.test("A peer of a Unix socket has no address", () => {
  assertEquals(peerOf({ remoteAddr: { transport: "unix", path: "/run/x" } }), "unix");
});
