/**
 * Where a call comes from: the address at the other end of the connection. Only where that is a proxy that the settings name (`http.proxies`) is
 * believed what it says in `X-Forwarded-For`, and of that only what proxies wrote: from the right to the first address that is none of theirs. A
 * proxy that says nothing, or nothing that is an address, hides its caller: the answer is null, and never the proxy's own, which may be
 * trusted where its callers are not.
 */
import type { IncomingMessage } from 'node:http';
import { BlockList, isIP, isIPv6 } from 'node:net';

/** Networks as the settings have them: `10.0.0.0/8`, `fd00::/8`, or single addresses. */
export function networksOf(texts: readonly string[]): BlockList {
  const networks = new BlockList();
  for (const text of texts) {
    const [address = '', bits] = text.split('/');
    const family = isIPv6(address) ? 'ipv6' : 'ipv4';
    if (bits === undefined) networks.addAddress(address, family);
    else networks.addSubnet(address, Number(bits), family);
  }
  return networks;
}

export function isWithin(networks: BlockList, address: string): boolean {
  return networks.check(address, isIPv6(address) ? 'ipv6' : 'ipv4');
}

/** A function that tells a request's address: IPv4 in four numbers, also where it came as IPv6; null when it can't be known. */
export function addressReader(proxies: readonly string[]): (request: IncomingMessage) => string | null {
  const networks = networksOf(proxies);
  return ({ socket, headers }) => {
    const peer = plain(socket.remoteAddress ?? '');
    if (peer === null || !isWithin(networks, peer)) return peer;
    let caller: string | null = null;
    for (const text of String(headers['x-forwarded-for'] ?? '')
      .split(',')
      .reverse()) {
      caller = plain(text.trim());
      if (caller === null || !isWithin(networks, caller)) break;
    }
    return caller;
  };
}

/** Without the zone of a link (`%eth0`), and IPv4 as itself; null for what is no address. */
function plain(text: string): string | null {
  const address = text.replace(/%.*$/, '').replace(/^::ffff:(?=\d+\.)/i, '');
  return isIP(address) === 0 ? null : address;
}
