import { bytesText, exitText } from './exit-status';

const shell = '/s/attempts/1/start.sh: 2: ';
const cases: [code: number, stderr: string, hasCore: boolean, said: string][] = [
  [3, 'no-such: not found', false, 'exit status 3'],
  [127, `x\n${shell}fit: not found\n`, false, 'exit status 127: a command was not found (fit: not found)'],
  [
    127,
    '/s/attempts/1/start.sh: line 7: fit: command not found\n',
    false,
    'exit status 127: a command was not found (fit: command not found)',
  ],
  [127, '', false, 'exit status 127: a command was not found'],
  [126, `${shell}./x: Permission denied`, false, 'exit status 126: a command could not be executed (./x: Permission denied)'],
  [139, '', false, 'exit status 139: killed by SIGSEGV'],
  [139, '', true, 'exit status 139: killed by SIGSEGV (core dumped)'],
  [134, 'terminate called\nAborted (core dumped)\n', false, 'exit status 134: killed by SIGABRT (core dumped)'],
  [137, '', false, 'exit status 137: killed by SIGKILL'],
  [255, '', false, 'exit status 255'],
];
test.each(cases)('%i with %j, core %s: %s', (code, stderr, hasCore, said) => {
  expect(exitText(code, stderr, hasCore)).toBe(said);
});

test('memory as people say it', () => {
  expect([0, 2 ** 20, 1.5 * 2 ** 30, 2 ** 30 / 3].map(bytesText)).toEqual(['0 MiB', '1 MiB', '1.5 GiB', '341.33 MiB']);
});
