/** Who asks, once that is known. */
import type { Credential, Role } from '@jobmon/contracts';
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

declare module 'fastify' {
  interface FastifyRequest {
    /** Set by the guard when login is on. */
    principal: Principal | undefined;
  }
}
