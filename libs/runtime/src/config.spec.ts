import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { JobmonError } from '@jobmon/contracts';
import { dataFolder, describeConfig, loadConfig, type ConfigSources } from './config';

const folder = mkdtempSync(join(tmpdir(), 'jobmon-config-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let files = 0;
function yamlFile(text: string): string {
  const path = join(folder, `${(files += 1)}.yaml`);
  writeFileSync(path, text);
  return path;
}

function refusal(sources: ConfigSources): string {
  try {
    loadConfig(sources);
  } catch (error) {
    expect(error).toBeInstanceOf(JobmonError);
    expect((error as JobmonError).code).toBe('MALFORMED');
    return (error as Error).message;
  }
  throw new Error('the configuration was accepted');
}

describe('without any setting', () => {
  const { config, warnings } = loadConfig({ env: { HOME: '/home/ada' } });

  it('keeps everything in the user data folder, on this machine only', () => {
    expect(config.db.url).toBe('sqlite:/home/ada/.local/share/jobmon/jobmon.sqlite');
    expect(config.agent.state_directory).toBe('/home/ada/.local/share/jobmon/agent');
    expect(config.http).toEqual({ host: '127.0.0.1', open: false, allowed_origins: [], allowed_hosts: [], proxies: [] });
    expect(config.http.port).toBeUndefined();
    expect(config.log).toMatchObject({ level: 'info' });
    expect(config.agent.cores).toBeGreaterThanOrEqual(1);
    expect(config.agent.lease_seconds).toBe(60);
    expect(config.heartbeat).toEqual({ task_instance_interval: 90, report_by_buffer: 3.1 });
    expect(warnings).toEqual([]);
  });

  it('is frozen to the last list', () => {
    expect(() => ((config.http as { port?: number }).port = 1)).toThrow(TypeError);
    expect(() => (config.http.allowed_hosts as string[]).push('x')).toThrow(TypeError);
  });

  it('follows XDG_DATA_HOME unless it is relative', () => {
    expect(dataFolder({ XDG_DATA_HOME: '/data', HOME: '/h' })).toBe('/data/jobmon');
    expect(dataFolder({ XDG_DATA_HOME: 'data', HOME: '/h' })).toBe('/h/.local/share/jobmon');
    // Without a home in the environment it is the one that the system knows, never the working folder.
    expect(dataFolder({ HOME: '' })).toBe(join(userInfo().homedir, '.local', 'share', 'jobmon'));
  });
});

describe('precedence', () => {
  const file = yamlFile('http:\n  host: from-file\n  port: 3\nlog:\n  level: warn\n');

  it('is command line, environment, file, the defaults of the program', () => {
    const sources: ConfigSources = {
      env: { HOME: '/h', JOBMON__CONFIG_FILE: file, JOBMON__HTTP__PORT: '4' },
      defaults: { http: { host: 'from-defaults', port: 2 }, agent: { lease_seconds: 15 } },
    };
    const { config } = loadConfig(sources);
    expect([config.http.host, config.http.port, config.log.level]).toEqual(['from-file', 4, 'warn']);
    expect(config.agent.lease_seconds).toBe(15);
    expect(loadConfig({ ...sources, overrides: { http: { port: '5', host: undefined } } }).config.http).toMatchObject({
      host: 'from-file',
      port: 5,
    });
  });

  it('takes the heartbeat of Python workers from where the Python client takes it', () => {
    const { config, warnings } = loadConfig({
      env: { HOME: '/h', JOBMON__HEARTBEAT__TASK_INSTANCE_INTERVAL: '3', JOBMON__HEARTBEAT__REPORT_BY_BUFFER: '2.5' },
    });
    expect([config.heartbeat, warnings]).toEqual([{ task_instance_interval: 3, report_by_buffer: 2.5 }, []]);
    expect(refusal({ env: { HOME: '/h', JOBMON__HEARTBEAT__REPORT_BY_BUFFER: 'x' } })).toContain(
      'heartbeat.report_by_buffer (environment variable JOBMON__HEARTBEAT__REPORT_BY_BUFFER) must be a number from 1 to 1000',
    );
  });

  it('reads text of the environment as what the setting is', () => {
    const { config } = loadConfig({
      env: {
        HOME: '/h',
        JOBMON__HTTP__OPEN: 'Yes',
        JOBMON__HTTP__ALLOWED_HOSTS: 'jobmon.example.org, other ,',
        JOBMON__HTTP__ALLOWED_ORIGINS: 'https://a.example:8443',
        JOBMON__AGENT__CORES: '3',
        JOBMON__LOG__FILE: '~/jobmon.log',
      },
    });
    expect(config.http.open).toBe(true);
    expect(config.http.allowed_hosts).toEqual(['jobmon.example.org', 'other']);
    expect(config.http.allowed_origins).toEqual(['https://a.example:8443']);
    expect(config.agent.cores).toBe(3);
    expect(config.log.file).toMatch(/^\/.*\/jobmon\.log$/);
  });

  it('takes lists and empty keys of a YAML file', () => {
    const lists = yamlFile('http:\n  allowed_hosts: [a, b]\n  port:\ndb:\nlog: {level: debug}\n');
    const { config } = loadConfig({ env: { HOME: '/h', JOBMON__CONFIG_FILE: lists } });
    expect(config.http.allowed_hosts).toEqual(['a', 'b']);
    expect(config.http.port).toBeUndefined();
    expect(config.log.level).toBe('debug');
  });

  it("takes the Python system's database address, in the environment and the file, behind db.url of the same source", () => {
    const python = 'mysql+pymysql://u:p@h/d';
    const url = (sources: ConfigSources): string => loadConfig(sources).config.db.url;
    expect(url({ env: { HOME: '/h', JOBMON__DB__SQLALCHEMY_DATABASE_URI: python } })).toBe('mysql://u:p@h:3306/d');
    expect(url({ env: { HOME: '/h', JOBMON__DB__SQLALCHEMY_DATABASE_URI: python, JOBMON__DB__URL: 'sqlite:/x' } })).toBe(
      'sqlite:/x',
    );
    const alias = yamlFile(`db:\n  sqlalchemy_database_uri: ${python}\n`);
    const both = yamlFile(`db:\n  url: sqlite:/y\n  sqlalchemy_database_uri: ${python}\n`);
    expect(url({ env: { HOME: '/h', JOBMON__CONFIG_FILE: alias } })).toBe('mysql://u:p@h:3306/d');
    expect(url({ env: { HOME: '/h', JOBMON__CONFIG_FILE: both } })).toBe('sqlite:/y');
  });
});

describe('an error names key, source and rule', () => {
  const env = { HOME: '/h' };

  it.each<[string, ConfigSources, string]>([
    [
      'environment',
      { env: { ...env, JOBMON__HTTP__PORT: '70000' } },
      'http.port (environment variable JOBMON__HTTP__PORT) must be a whole number from 0 to 65535, not "70000"',
    ],
    [
      'environment, no number',
      { env: { ...env, JOBMON__HTTP__PORT: '80 80' } },
      'http.port (environment variable JOBMON__HTTP__PORT) must be a whole number from 0 to 65535, not "80 80"',
    ],
    [
      'command line with a known flag',
      { env, overrides: { http: { port: 'x' } }, flags: { 'http.port': '--port' } },
      'http.port (command line, --port) must be a whole number from 0 to 65535, not "x"',
    ],
    [
      'command line without one',
      { env, overrides: { agent: { lease_seconds: 1.5 } } },
      'agent.lease_seconds (command line, --agent-lease-seconds) must be a whole number from 3 to 3600, not 1.5',
    ],
    [
      'default of the program',
      { env, defaults: { log: { level: 'loud' } } },
      'log.level (default of this program) must be one of trace, debug, info, warn, error, fatal, silent, not "loud"',
    ],
    [
      'flag',
      { env: { ...env, JOBMON__HTTP__OPEN: 'maybe' } },
      'http.open (environment variable JOBMON__HTTP__OPEN) must be true or false',
    ],
    [
      'origin',
      { env: { ...env, JOBMON__HTTP__ALLOWED_ORIGINS: 'https://a/b' } },
      'http.allowed_origins (environment variable JOBMON__HTTP__ALLOWED_ORIGINS) must read http(s)://HOST:PORT, without a path',
    ],
    [
      'issuer without TLS',
      { env: { ...env, JOBMON__AUTH__ISSUER: 'http://login.example.org' } },
      'auth.issuer (environment variable JOBMON__AUTH__ISSUER) must be an https:// address, without query',
    ],
    [
      'algorithm of a shared secret',
      { env: { ...env, JOBMON__AUTH__ALGORITHMS: 'RS256,HS256' } },
      'auth.algorithms (environment variable JOBMON__AUTH__ALGORITHMS) must be one of RS256, ',
    ],
    [
      'role that is none',
      { env: { ...env, JOBMON__AUTH__ROLES: 'staff=operator,heads=god' } },
      'auth.roles (environment variable JOBMON__AUTH__ROLES) must read VALUE=ROLE, with a role of reader, operator, admin',
    ],
    [
      'network that is none',
      { env: { ...env, JOBMON__AUTH__PYTHON_NETWORKS: '10.0.0.0/8, 10.0.0.0/33' } },
      'auth.python_networks (environment variable JOBMON__AUTH__PYTHON_NETWORKS) must be networks like 10.0.0.0/8',
    ],
  ])('%s', (_name, sources, message) => {
    expect(refusal(sources)).toContain(message);
  });

  it('tells all wrong settings at once', () => {
    const message = refusal({ env: { ...env, JOBMON__HTTP__PORT: '-1', JOBMON__AGENT__CORES: '0' } });
    expect(message).toContain('JOBMON__HTTP__PORT');
    expect(message).toContain('JOBMON__AGENT__CORES');
  });

  it('names file and line', () => {
    const path = yamlFile('# settings\nhttp:\n  host: a\n  port: many\n');
    expect(refusal({ env: { ...env, JOBMON__CONFIG_FILE: path } })).toContain(
      `http.port (${path} line 4) must be a whole number`,
    );
  });

  it('never repeats a database address, which may hold a password', () => {
    const message = refusal({ env: { ...env, JOBMON__DB__URL: 'postgres://u:hunter2@h/d' } });
    expect(message).toContain('db.url (environment variable JOBMON__DB__URL) must start with sqlite:, mysql:// or mariadb://');
    expect(message).not.toContain('hunter2');
  });

  it.each([
    ['a misspelt key', 'http:\n  prot: 1\n', "line 2: there is no setting 'http.prot', did you mean 'http.port'?"],
    ['a misspelt section', 'htp:\n  port: 1\n', "line 1: there is no section 'htp', did you mean 'http'?"],
    ['a strange section', 'telescope:\n  port: 1\n', "there is no section 'telescope'; there are db, http"],
    ['a section without keys', 'http: 8070\n', "the section 'http' must hold keys"],
    ['a list', '- http\n', 'must hold sections'],
    ['no YAML', 'http: [\n', 'is no YAML'],
    ['a tab', 'http:\n\tport: 1\n', 'line 2 is no YAML: Tabs are not allowed as indentation'],
    ['a section without a name', '"": 1\n', "there is no section ''; there are db, http"],
  ])('refuses %s in the file', (_name, text, message) => {
    expect(refusal({ env: { ...env, JOBMON__CONFIG_FILE: yamlFile(text) } })).toContain(message);
  });

  it('refuses a file that cannot be read', () => {
    expect(refusal({ env: { ...env, JOBMON__CONFIG_FILE: join(folder, 'missing.yaml') } })).toContain(
      'missing.yaml (JOBMON__CONFIG_FILE)',
    );
  });
});

describe('settings that are not ours', () => {
  it("accepts the Python client's in silence and warns of the others", () => {
    const file = yamlFile('http:\n  service_url: http://x\nheartbeat:\n  task_instance_interval: 3\n');
    const { warnings } = loadConfig({
      env: {
        HOME: '/h',
        JOBMON__CONFIG_FILE: file,
        JOBMON__HTTP__SERVICE_URL: 'http://x',
        JOBMON__HTTP__ROUTE_PREFIX: '/api/v3',
        JOBMON__HEARTBEAT__TASK_INSTANCE_INTERVAL: '3',
        JOBMON__HTTP__PROT: '1',
        JOBMON_TEST_MARIADB_URL: 'mariadb://u:p@h/d',
      },
    });
    expect(warnings).toEqual([
      "the environment variable JOBMON__HTTP__PROT is no setting of this server, did you mean 'http.port'?",
    ]);
  });
});

it('describes itself without the password', () => {
  const { config } = loadConfig({ env: { HOME: '/h', JOBMON__DB__URL: 'mariadb://jobmon:s%40crecy@db:3307/jobmon' } });
  expect(config.db.url).toBe('mariadb://jobmon:s%40crecy@db:3307/jobmon');
  const shown = JSON.stringify(describeConfig(config));
  expect(shown).toContain('mariadb://jobmon:***@db:3307/jobmon');
  expect(shown).not.toContain('crecy');
});

it('hides what NATS is told', () => {
  const env = { JOBMON__NATS__URL: 'nats://a:crecy1@one:4222,nats://b:crecy2@two:4222', JOBMON__NATS__PASSWORD: 'crecy3' };
  const shown = describeConfig(loadConfig({ env }).config);
  expect(shown['nats']).toEqual({ url: 'nats://a:***@one:4222,nats://b:***@two:4222', password: '***' });
});

describe('the account of the database', () => {
  const urlOf = (env: Record<string, string>): string => loadConfig({ env: { HOME: '/home/ada', ...env } }).config.db.url;

  it('is taken from settings of its own, written as it is, so that a secret holds the password alone', () => {
    const account = { JOBMON__DB__USER: 'app', JOBMON__DB__PASSWORD: 'p@ss/w%rd:1' };
    const url = 'mariadb://app:p%40ss%2Fw%25rd%3A1@db:3306/jobmon';
    expect(urlOf({ ...account, JOBMON__DB__URL: 'mariadb://db:3306/jobmon' })).toBe(url);
    expect(urlOf({ ...account, JOBMON__DB__URL: 'mariadb://other:else@db/jobmon' })).toBe(url);
    expect(urlOf({ JOBMON__DB__PASSWORD: 'new', JOBMON__DB__URL: 'mysql://ada:old@db/jobmon' })).toBe(
      'mysql://ada:new@db:3306/jobmon',
    );
    expect(urlOf({ ...account, JOBMON__DB__URL: 'sqlite:/data/a.sqlite' })).toBe('sqlite:/data/a.sqlite');
  });

  it('stands beside the files of TLS, which the address takes up', () => {
    const files = { JOBMON__DB__TLS_CA_FILE: '/etc/ca.pem', JOBMON__DB__TLS_CERT_FILE: '~/my cert.pem' };
    const url = 'mariadb://app@db:3306/jobmon?ssl_ca=/etc/ca.pem';
    expect(urlOf({ ...files, JOBMON__DB__URL: 'mariadb://app@db/jobmon?ssl_ca=other.pem' })).toBe(
      `${url}&ssl_cert=${homedir()}/my%20cert.pem`,
    );
    expect(urlOf({ JOBMON__DB__URL: 'mysql+pymysql://app@db/jobmon?charset=utf8mb4&ssl_ca=/etc/ca.pem' })).toBe(
      url.replace('mariadb', 'mysql'),
    );
    expect(urlOf({ ...files, JOBMON__DB__URL: 'sqlite:/data/a.sqlite' })).toBe('sqlite:/data/a.sqlite');
  });

  it('is never shown', () => {
    const env = { JOBMON__DB__URL: 'mariadb://db/jobmon', JOBMON__DB__USER: 'app', JOBMON__DB__PASSWORD: 'hush-hush' };
    const { config } = loadConfig({ env: { HOME: '/home/ada', ...env } });
    expect(JSON.stringify(describeConfig(config))).not.toContain('hush');
    const broken = { HOME: '/home/ada', ...env, JOBMON__DB__URL: 'mariadb://db' };
    expect(refusal({ env: broken })).not.toContain('hush');
    expect(refusal({ env: { ...broken, JOBMON__DB__USER: '' } })).toMatch(/db\.user/);
  });
});
