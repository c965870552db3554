/**
 * A real OpenID provider (npm `oidc-provider`) as a process, for specs of login; and a person at a browser who agrees to everything. Its
 * keys are the spec's, so that it can sign tokens that the provider would never give.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import path from 'node:path';
import { createInterface } from 'node:readline';

export interface LoginProviderSettings {
  /** 0 takes any free one. */
  readonly port?: number;
  /** Private keys as JWKs with `kid` and `alg`. */
  readonly keys: readonly object[];
  /** Whom its access tokens are for: a URL. */
  readonly audience: string;
  /** Account to the values of its claim `roles`. */
  readonly roles: Readonly<Record<string, readonly string[]>>;
  /** Validity of an access token; 600 when absent. */
  readonly token_seconds?: number;
}

/** What can be changed while it runs: the keys, and who comes next. */
export type LoginProviderChange = Partial<Omit<LoginProviderSettings, 'port' | 'audience'>> & { readonly account?: string };

const START_MS_MAX = 60_000;

export class LoginProvider {
  private constructor(
    readonly issuer: string,
    private readonly child: ChildProcess,
    private readonly lines: AsyncIterator<string>,
  ) {}

  get port(): number {
    return Number(new URL(this.issuer).port);
  }

  static async start(settings: LoginProviderSettings): Promise<LoginProvider> {
    const child = spawn(process.execPath, ['--no-warnings', path.join(__dirname, 'openid-provider.mjs')], {
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    let told = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (told += text));
    const late = setTimeout(() => child.kill('SIGKILL'), START_MS_MAX);
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    child.stdin.write(`${JSON.stringify({ port: 0, ...settings })}\n`);
    for (;;) {
      const { value, done } = (await lines.next()) as IteratorResult<string, undefined>;
      if (done) throw new Error(`the login provider did not start: ${told}`);
      const [, port] = /^listening (\d+)$/.exec(value) ?? [];
      if (port === undefined) continue;
      clearTimeout(late);
      return new LoginProvider(`http://127.0.0.1:${port}`, child, lines);
    }
  }

  async change(change: LoginProviderChange): Promise<void> {
    this.child.stdin!.write(`${JSON.stringify(change)}\n`);
    while ((await this.lines.next()).value !== 'changed');
  }

  /** As if its machine went away. Started again by `start` with its port. */
  async kill(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const ended = new Promise((resolve) => this.child.once('exit', resolve));
    this.child.kill('SIGKILL');
    await ended;
  }
}

const STEPS_MAX = 20;

/** A person's browser: follows redirects with its cookies and sends every form as it stands. Answers the last page's text. */
export async function agreeInBrowser(url: string): Promise<string> {
  const cookies = new Map<string, string>();
  let next: { url: string; body?: URLSearchParams } = { url };
  for (let step = 0; step < STEPS_MAX; step++) {
    const response: Response = await fetch(next.url, {
      method: next.body === undefined ? 'GET' : 'POST',
      body: next.body,
      redirect: 'manual',
      headers: { cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join('; ') },
    });
    for (const cookie of response.headers.getSetCookie()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(cookie) ?? [];
      cookies.set(name, value);
    }
    const text = await response.text();
    const location = response.headers.get('location');
    if (location !== null) {
      next = { url: new URL(location, next.url).href };
      continue;
    }
    const [, action] = /<form[^>]* action="([^"]+)"/.exec(text) ?? [];
    if (response.status !== 200 || action === undefined) return `${response.status} ${text}`;
    const fields = [...text.matchAll(/<input[^>]* name="([^"]+)"[^>]* value="([^"]*)"/g)];
    next = {
      url: new URL(action, next.url).href,
      body: new URLSearchParams(fields.map(([, name = '', value = '']): [string, string] => [name, value])),
    };
  }
  throw new Error(`a browser went ${STEPS_MAX} steps without an end from ${url}`);
}
