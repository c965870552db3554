/** Who asks, once that is known, and why somebody is refused. */
import { JobmonError, type Credential, type ErrorCode, type Role } from '@jobmon/contracts';
import type { z } from 'zod';

export interface Principal {
  readonly user: string;
  readonly role: Role;
  /** How it was shown who asks. */
  readonly credential: Exclude<z.output<typeof Credential>, 'none'>;
  /** End of the credential, `YYYY-MM-DD HH:MM:SS` UTC; null when it has none by itself. */
  readonly expires_date: string | null;
  /** The row of the API token, when it was one. */
  readonly api_token_id: number | null;
}

/**
 * Why a caller is refused, for metrics and log: no credential; one that is nobody's; one that has ended; one that the provider signed for another, or
 * that names nobody; a person without a role; a provider that can't be asked; too many tries; too weak a role; somebody else's workflow or
 * agent; a Python client from elsewhere than the named networks.
 */
export const LOGIN_REFUSALS = [
  'none',
  'unknown',
  'expired',
  'revoked',
  'foreign',
  'no_role',
  'provider_away',
  'too_many',
  'role',
  'owner',
  'network',
] as const;
export type LoginRefusalReason = (typeof LOGIN_REFUSALS)[number];

/** A refusal that says who may not ask, counted by its reason. */
export class LoginRefusal extends JobmonError {
  constructor(
    readonly reason: LoginRefusalReason,
    code: ErrorCode,
    message: string,
    details?: unknown,
  ) {
    super(code, message, details);
  }
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Set by the guard when login is on. */
    principal: Principal | undefined;
    /** Where the call comes from, once somebody needed it (`caller-address.ts`); null when nobody knows. */
    callerAddress: string | null | undefined;
  }
}
