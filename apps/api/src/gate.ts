/**
 * What stands before each operation's route, in one place: with login off, the token of the house before everything of `/api/v4` that is no
 * GET; with login on, what the operation's own value says (`accessOf`, `ownedBy` of the contracts). It is decided before the body is read, so that a
 * caller who may not ask costs nothing more.
 */
import { timingSafeEqual } from 'node:crypto';
import { accessOf, Id, isSufficient, JobmonError, ownedBy, type Operation } from '@jobmon/contracts';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { addressReader } from './caller-address';
import type { ApiContext } from './context';
import { Guesses } from './guesses';
import { bearerOf, Login, sha256 } from './login';
import { Ownership } from './ownership';
import { LoginRefusal } from './principal';
import { isTrusted, openPythonPort, type Trust } from './python-port';

/** Between two looks whether the credential of whoever follows a stream is still good. */
const STREAM_LOOK_MS = 5_000;

/** Unknown credentials of one address in a minute, where the settings say nothing. */
const GUESSES_PER_MINUTE_DEFAULT = 60;

type Hook = (request: FastifyRequest) => Promise<void>;

export interface Gate {
  /** What a request for the operation under this path passes before anything else. */
  hooks(operation: Operation, path: string): Hook[];
  /** Of a request whose answer is a stream: aborted when its credential is no longer good; calls `stop` of it when it has ended. */
  ended(request: FastifyRequest): { readonly signal: AbortSignal; stop(): void } | undefined;
}

export function makeGate(server: FastifyInstance, context: ApiContext): Gate {
  server.decorateRequest('principal', undefined);
  server.decorateRequest('callerAddress', undefined);
  const { auth, http } = context.config;
  const readAddress = addressReader(http.proxies ?? []);
  const addressOf = (request: FastifyRequest): string | null => (request.callerAddress ??= readAddress(request.raw));
  const guesses = new Guesses(auth?.guesses_per_minute ?? GUESSES_PER_MINUTE_DEFAULT);
  /** Bounds the tries of an address around whatever looks at a credential. */
  const guarded = async <T>(request: FastifyRequest, given: string | undefined, look: () => T | Promise<T>): Promise<T> => {
    const address = addressOf(request);
    const hash = given === undefined ? undefined : sha256(given).toString('base64');
    if (hash !== undefined) guesses.require(address, hash);
    try {
      const found = await look();
      if (hash !== undefined) guesses.passed(hash);
      return found;
    } catch (thrown) {
      if (thrown instanceof LoginRefusal && thrown.reason === 'unknown') guesses.failed(address);
      throw thrown;
    }
  };
  return auth?.mode === 'on' ? gateOfLogin(server, context, auth, { guarded, addressOf }) : gateOfHouse(context, guarded);
}

interface Callers {
  readonly guarded: <T>(request: FastifyRequest, given: string | undefined, look: () => T | Promise<T>) => Promise<T>;
  readonly addressOf: (request: FastifyRequest) => string | null;
}

function gateOfHouse({ token }: ApiContext, guarded: Callers['guarded']): Gate {
  if (token === undefined || token === '') throw new Error('with login off the api needs a token that is not empty');
  const expected = sha256(token);
  const hook = (request: FastifyRequest): Promise<void> => {
    const given = bearerOf(request.headers.authorization);
    return guarded(request, given, () => {
      // Hashes are compared, so that neither length nor beginning shows in time.
      if (given !== undefined && timingSafeEqual(sha256(given), expected)) return;
      const what = given === undefined ? 'this call needs a token' : 'the token is not the one of this server';
      const cure = "'jobmon serve' writes it into the client profile of the user who starts it";
      throw new LoginRefusal(given === undefined ? 'none' : 'unknown', 'UNAUTHORIZED', `${what}; ${cure}`);
    });
  };
  return {
    hooks: (operation, path) => (path.startsWith('/api/v4/') && operation.http?.method !== 'GET' ? [hook] : []),
    ended: () => undefined,
  };
}

function gateOfLogin(
  server: FastifyInstance,
  context: ApiContext,
  auth: NonNullable<ApiContext['config']['auth']>,
  { guarded, addressOf }: Callers,
): Gate {
  const login = new Login(context);
  const ownership = new Ownership(context.database);
  const trust: Trust = openPythonPort(server, auth, context);
  const fromTrusted = (request: FastifyRequest): Promise<void> => {
    const address = addressOf(request);
    if (isTrusted(request, address, trust)) return Promise.resolve();
    const whence = address === null ? 'is from behind a proxy that does not tell from where' : `comes from ${address}`;
    const sentence = `with login on, the Python protocol is answered on a port of its own (auth.python_port) or to named networks (auth.python_networks), and this call ${whence}`;
    const cure = 'ask the administrator for the address of that port, or to name this network';
    return Promise.reject(new LoginRefusal('network', 'FORBIDDEN', `${sentence}: ${cure}`));
  };
  const hooks = (operation: Operation): Hook[] => {
    const access = accessOf(operation);
    if (access === 'anyone') return [];
    if (access === 'network') return [fromTrusted];
    const owned = ownedBy(operation);
    return [
      async (request: FastifyRequest): Promise<void> => {
        const { authorization } = request.headers;
        const principal = await guarded(request, bearerOf(authorization), () => login.principalOf(authorization));
        request.principal = principal;
        if (!isSufficient(principal.role, access)) {
          throw new LoginRefusal(
            'role',
            'FORBIDDEN',
            `this call needs the role ${access}, and ${principal.user} is ${principal.role}`,
          );
        }
        const id = owned === undefined ? undefined : idIn(request, `${owned}_id`);
        if (owned !== undefined && id !== undefined) await ownership.require(owned, id, principal);
      },
    ];
  };
  return { hooks, ended: (request) => watch(login, request) };
}

/** An id of the path; what is none is refused by the operation's schema. */
function idIn(request: FastifyRequest, name: string): number | undefined {
  const parsed = Id.safeParse((request.params as Record<string, string>)[name]);
  return parsed.success ? parsed.data : undefined;
}

function watch(login: Login, request: FastifyRequest): { readonly signal: AbortSignal; stop(): void } {
  const controller = new AbortController();
  const look = (): void => {
    login.principalOf(request.headers.authorization).catch((thrown: unknown) => {
      // A database or a provider that is away ends nothing that was begun.
      if (JobmonError.from(thrown).code === 'UNAUTHORIZED') controller.abort();
    });
  };
  const timer = setInterval(look, STREAM_LOOK_MS);
  return { signal: controller.signal, stop: () => clearInterval(timer) };
}
