/**
 * Who is at the other end of a connection, as far as the network tells.
 *
 * @module
 */

/** What `Deno.serve` says of a request besides the request. */
export interface ConnectionInfo {
  readonly remoteAddr: Deno.Addr;
}

/**
 * What to count a peer by: its address, of IPv6 the first 64 bits, since whoever has one address there has them all.
 */
export function peerOf({ remoteAddr }: ConnectionInfo): string {
  if (remoteAddr.transport !== "tcp") return remoteAddr.transport;
  const { hostname } = remoteAddr;
  if (!hostname.includes(":")) return hostname;
  // An IPv4 address in an IPv6 socket.
  const [, mapped] = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(hostname) ?? [];
  if (mapped !== undefined) return mapped;
  const [address] = hostname.split("%");
  const [head, tail] = address!.split("::").map((part) => part === "" ? [] : part.split(":"));
  const groups = tail === undefined
    ? head!
    : [...head!, ...Array<string>(Math.max(0, 8 - head!.length - tail.length)).fill("0"), ...tail];
  return `${groups.slice(0, 4).join(":")}::/64`;
}
