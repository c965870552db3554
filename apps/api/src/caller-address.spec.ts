import type { IncomingMessage } from 'node:http';
import { addressReader, isWithin, networksOf } from './caller-address';

function addressOf(peer: string | undefined, forwarded: string | undefined, proxies: string[]): string | null {
  const headers = forwarded === undefined ? {} : { 'x-forwarded-for': forwarded };
  return addressReader(proxies)({ socket: { remoteAddress: peer }, headers } as unknown as IncomingMessage);
}

describe('the address of a caller', () => {
  const proxies = ['10.0.0.0/8', 'fd00::/8'];

  it.each([
    // Nobody is believed who is not named.
    ['192.0.2.7', undefined, [], '192.0.2.7'],
    ['192.0.2.7', '10.0.0.1', [], '192.0.2.7'],
    ['192.0.2.7', '10.0.0.1', proxies, '192.0.2.7'],
    ['::ffff:192.0.2.7', '10.0.0.1', proxies, '192.0.2.7'],
    ['::ffff:c000:207', undefined, [], '::ffff:c000:207'],
    ['fe80::1%eth0', undefined, [], 'fe80::1'],
    ['2001:db8::1', '10.0.0.1', proxies, '2001:db8::1'],
    [undefined, undefined, [], null],
    // A named proxy is, about what stands last; what its caller made up stands before.
    ['10.0.0.1', '198.51.100.4', proxies, '198.51.100.4'],
    ['::ffff:10.0.0.1', '203.0.113.9,  2001:db8::5', proxies, '2001:db8::5'],
    ['fd00::1', '10.9.9.9, 198.51.100.4, 10.0.0.2', proxies, '198.51.100.4'],
    ['10.0.0.1', '10.0.0.3, 10.0.0.2', proxies, '10.0.0.3'],
    // Said nothing, or no address: hidden, and not the proxy's own.
    ['10.0.0.1', undefined, proxies, null],
    ['10.0.0.1', '', proxies, null],
    ['10.0.0.1', '198.51.100.4, unknown', proxies, null],
    ['10.0.0.1', '198.51.100.4:80', proxies, null],
  ])('of %s that says %j with the proxies %j is %s', (peer, forwarded, named, address) => {
    expect(addressOf(peer, forwarded, named)).toBe(address);
  });

  it('is compared with networks of its own family', () => {
    const networks = networksOf(['10.0.0.0/8', '2001:db8::/32', '::1']);
    const within = ['10.1.2.3', '2001:db8:1::5', '::1', '11.0.0.1', '2001:db9::1', '::2'].map((one) => isWithin(networks, one));
    expect(within).toEqual([true, true, true, false, false, false]);
  });
});
