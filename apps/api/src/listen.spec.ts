import { loadConfig, type PartialSettings } from '@jobmon/runtime';
import { refuseStrangers } from './listen';

const listening = (overrides: PartialSettings) => () => refuseStrangers(loadConfig({ env: {}, overrides }).config);

it.each<[string, PartialSettings]>([
  ['this machine alone', {}],
  ['another address of this machine alone', { http: { host: '127.0.0.9' } }],
  ['everybody, as was asked for', { http: { host: '0.0.0.0', open: true } }],
  ['everybody, who must log in', { http: { host: '0.0.0.0' }, auth: { mode: 'on' } }],
])('listens for %s', (_, overrides) => expect(listening(overrides)).not.toThrow());

it('does not listen for everybody by itself, and names both ways to do so', () => {
  expect(listening({ http: { host: '0.0.0.0' } })).toThrow(/JOBMON__AUTH__MODE=on.*--open/);
});
