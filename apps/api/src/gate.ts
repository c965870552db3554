/**
 * What stands before each operation's route, in one place: with login off, the token of the house before everything of `/api/v4` that is no
 * GET; with login on, what the operation's own value says (`accessOf`, `ownedBy` of the contracts). It is decided before the body is read, so that a
 * caller who may not ask costs nothing more.
 */
import { accessOf, Id, isSufficient, JobmonError, ownedBy, type Operation } from '@jobmon/contracts';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { ApiContext } from './context';
import { requireToken } from './guard';
import { Login } from './login';
import { Ownership } from './ownership';
import { isTrusted, openPythonPort, type Trust } from './python-port';

/** Between two looks whether the credential of whoever follows a stream is still good. */
const STREAM_LOOK_MS = 5_000;

type Hook = ReturnType<typeof requireToken> | ((request: FastifyRequest) => Promise<void>);

export interface Gate {
  /** What a request for the operation under this path passes before anything else. */
  hooks(operation: Operation, path: string): Hook[];
  /** Of a request whose answer is a stream: aborted when its credential is no longer good; calls `stop` of it when it has ended. */
  ended(request: FastifyRequest): { readonly signal: AbortSignal; stop(): void } | undefined;
}

export function makeGate(server: FastifyInstance, context: ApiContext): Gate {
  server.decorateRequest('principal', undefined);
  return context.config.auth?.mode === 'on' ? gateOfLogin(server, context, context.config.auth) : gateOfHouse(context);
}

function gateOfHouse({ token }: ApiContext): Gate {
  if (token === undefined || token === '') throw new Error('with login off the api needs a token that is not empty');
  const guard = requireToken(token);
  return {
    hooks: (operation, path) => (path.startsWith('/api/v4/') && operation.http?.method !== 'GET' ? [guard] : []),
    ended: () => undefined,
  };
}

function gateOfLogin(server: FastifyInstance, context: ApiContext, auth: NonNullable<ApiContext['config']['auth']>): Gate {
  const login = new Login(context);
  const ownership = new Ownership(context.database);
  const trust: Trust = openPythonPort(server, auth, context);
  const fromTrusted = (request: FastifyRequest): Promise<void> =>
    isTrusted(request, trust)
      ? Promise.resolve()
      : Promise.reject(
          new JobmonError(
            'FORBIDDEN',
            'with login on, the Python protocol is answered on a port of its own or to named networks: see auth.python_port and auth.python_networks',
          ),
        );
  const hooks = (operation: Operation): Hook[] => {
    const access = accessOf(operation);
    if (access === 'anyone') return [];
    if (access === 'network') return [fromTrusted];
    const owned = ownedBy(operation);
    return [
      async (request: FastifyRequest): Promise<void> => {
        const principal = await login.principalOf(request.headers.authorization);
        request.principal = principal;
        if (!isSufficient(principal.role, access)) {
          throw new JobmonError('FORBIDDEN', `this call needs the role ${access}, and ${principal.user} is ${principal.role}`);
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
