import { homedir } from 'node:os';
import { join } from 'node:path';
import { type JobmonError } from '@jobmon/contracts';
import { describeDatabase, formatDatabaseUrl, parseDatabaseUrl } from './database-url';

const server = (kind: string, over: object = {}): object => ({
  kind,
  host: 'db.example.org',
  port: 3306,
  user: 'u',
  password: 'p',
  database: 'jobmon',
  ...over,
});

it.each<[string, object]>([
  ['sqlite:jobmon.sqlite', { kind: 'sqlite', file: '/work folder/jobmon.sqlite' }],
  ['sqlite:/var/lib/jobmon.sqlite', { kind: 'sqlite', file: '/var/lib/jobmon.sqlite' }],
  ['sqlite:~/jobmon.sqlite', { kind: 'sqlite', file: join(homedir(), 'jobmon.sqlite') }],
  ['sqlite:a?b.sqlite', { kind: 'sqlite', file: '/work folder/a?b.sqlite' }],
  ['sqlite:///jobmon.sqlite', { kind: 'sqlite', file: '/work folder/jobmon.sqlite' }],
  ['sqlite:////var/lib/jobmon.sqlite', { kind: 'sqlite', file: '/var/lib/jobmon.sqlite' }],
  ['sqlite+pysqlite:////var/jobmon.sqlite?timeout=5', { kind: 'sqlite', file: '/var/jobmon.sqlite' }],
  ['mysql://u:p@db.example.org/jobmon', server('mysql')],
  ['mysql+pymysql://u:p@db.example.org:3307/jobmon?charset=utf8mb4', server('mysql', { port: 3307 })],
  ['mysql+mysqldb://u:p@db.example.org/jobmon', server('mysql')],
  ['mariadb://u:p@db.example.org:80/jobmon', server('mariadb', { port: 80 })],
  ['mariadb+mariadbconnector://u@db.example.org/jobmon', server('mariadb', { password: '' })],
  [
    'mysql+pymysql://u:p@db.example.org/jobmon?ssl_ca=/etc/ca.pem&ssl_cert=my%20cert.pem&ssl_key=/k?x.pem',
    server('mysql', { tls: { ca_file: '/etc/ca.pem', cert_file: '/work folder/my cert.pem', key_file: '/k?x.pem' } }),
  ],
  ['MariaDB://u:p%40%2F%3A%23%25@[::1]:3306/jobmon', server('mariadb', { host: '::1', password: 'p@/:#%' })],
])('%s', (url, address) => {
  const parsed = parseDatabaseUrl(url, '/work folder');
  expect(parsed).toEqual(address);
  expect(parseDatabaseUrl(formatDatabaseUrl(parsed), '/elsewhere')).toEqual(parsed);
});

it.each([
  ['', 'must start with'],
  ['jobmon.sqlite', 'must start with'],
  ['postgresql://u:secret@h/d', 'must start with'],
  ['sqlite:', 'must name a file'],
  ['sqlite://', 'no host'],
  ['sqlite://host/file', 'no host'],
  ['sqlite::memory:', 'two connections'],
  ['sqlite:///:memory:', 'two connections'],
  ['mysql:jobmon', 'host is missing'],
  ['mysql://u:secret@/jobmon', 'must read'],
  ['mysql://u:secret@h', 'name of the database'],
  ['mysql://u:secret@h/', 'name of the database'],
  ['mysql://u:secret@h/a/b', 'name of the database'],
  ['mysql://h/jobmon', 'user is missing'],
  ['mysql://u:secret%zz@h/jobmon', 'hexadecimal'],
  ['mysql://u:secret@h/jobmon?ssl_ca=', "'ssl_ca' must name a file"],
  ['mysql://u:secret@h/jobmon?ssl_mode=x', "'ssl_mode' is not known"],
  ['mysql://u:secret@h:port/jobmon', 'must read'],
])('refuses %s', (url, rule) => {
  let message = '';
  try {
    parseDatabaseUrl(url);
  } catch (error) {
    expect((error as JobmonError).code).toBe('MALFORMED');
    message = (error as Error).message;
  }
  expect(message).toContain(rule);
  expect(message).not.toContain('secret');
});

it('shows an address without its password', () => {
  expect(describeDatabase(parseDatabaseUrl('mysql+pymysql://u:secret@h/d'))).toBe('mysql://u:***@h:3306/d');
  expect(describeDatabase(parseDatabaseUrl('mysql://u@h/d'))).toBe('mysql://u@h:3306/d');
  expect(describeDatabase(parseDatabaseUrl('sqlite:/x'))).toBe('sqlite:/x');
});
