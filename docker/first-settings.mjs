/**
 * Makes what docker/compose.yaml's containers share and nobody shall know: a token and the passwords of the database's accounts, each where those who
 * need it read it and nobody else does. Runs before anything else at each start, and changes nothing once the settings are there.
 *
 * Folders below `/volumes`, or below the first argument: `database` gets the accounts' SQL, `migration`, `services` and `agent` their jobmon.yaml.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const folder = process.argv[2] ?? '/volumes';
const accounts = join(folder, 'database', 'accounts.sql');
const files = ['migration', 'services', 'agent'].map((name) => join(folder, name, 'jobmon.yaml'));

const secret = () => randomBytes(24).toString('hex');

/** Whole or not at all. Readable inside the volume, which only its own containers have. */
function write(file, text) {
  mkdirSync(join(file, '..'), { recursive: true });
  writeFileSync(`${file}.partial`, text, { mode: 0o644 });
  renameSync(`${file}.partial`, file);
}

function make() {
  const [app, migrate, token] = [secret(), secret(), secret()];
  const address = (user, password) => `mariadb://${user}:${password}@database:3306/docker`;
  const bus = 'nats:\n  url: nats://bus:4222\n';
  write(files[0], `db:\n  url: ${address('migrate', migrate)}\n`);
  write(files[1], `db:\n  url: ${address('app', app)}\n  connections_max: 16\n${bus}http:\n  token: ${token}\n`);
  write(files[2], `http:\n  service_url: http://api:8070\n  token: ${token}\n`);
  write(join(folder, 'services', 'token'), `${token}\n`);
  const passwords = { APP: app, MIGRATE: migrate, READ_ONLY: 'docker' };
  const text = readFileSync(new URL('accounts.sql', import.meta.url), 'utf8');
  // Last: where it stands, all others do.
  write(
    accounts,
    text.replaceAll(/@([A-Z_]+)_PASSWORD@/g, (_, name) => passwords[name]),
  );
}

const missing = files.filter((file) => !existsSync(file));
if (!existsSync(accounts)) {
  make();
  console.log('Made a token and the passwords of the database.');
} else if (missing.length > 0) {
  console.error(
    `${missing.join(', ')}: gone, while the database has its accounts. docker/compose down -v removes all and starts anew.`,
  );
  process.exitCode = 1;
}
