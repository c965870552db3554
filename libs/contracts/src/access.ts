/**
 * Who may call what when login is on. One place: the role of an operation and whether what it changes must be the caller's own are derived
 * here from the operation's value, and the api's guard, the OpenAPI document, the page docs/login.md and the tests read them from here.
 *
 * A reader sees everything and changes nothing. An operator changes what is his own, and definitions (tools, templates), which are everybody's. An
 * admin changes everything, and makes tokens for others. `/api/v3` carries no credentials: it is opened by where a request comes from.
 */
import { z } from 'zod';
import type { Operation } from './operation';

/** From the weakest to the strongest: each may do what those before it may. */
export const ROLES = ['reader', 'operator', 'admin'] as const;
export const Role = z.enum(ROLES);
export type Role = z.output<typeof Role>;

/** What an operation asks of its caller: a role; nothing; or to come by a trusted network (the Python protocol). */
export type Access = Role | 'anyone' | 'network';

/** Whose the row that a path names must be, unless an admin asks. */
export type Owned = 'workflow' | 'agent';

/** Whether `role` is at least `needed`. */
export function isSufficient(role: Role, needed: Role): boolean {
  return ROLES.indexOf(role) >= ROLES.indexOf(needed);
}

/** An operation's own word, else by its route: the Python protocol by network, a GET for readers, everything else for operators. */
export function accessOf({ role, http }: Operation): Access {
  if (role !== undefined) return role;
  if (http === undefined || http.path.startsWith('/api/v3/')) return 'network';
  return http.method === 'GET' ? 'reader' : 'operator';
}

/** What of the operation's path must be the caller's own: of operations for operators, the workflow or the agent that it names. */
export function ownedBy(operation: Operation): Owned | undefined {
  if (accessOf(operation) !== 'operator') return undefined;
  const path = operation.http?.path ?? '';
  if (path.includes('{workflow_id}')) return 'workflow';
  return path.includes('{agent_id}') ? 'agent' : undefined;
}

/** Whether the request's `user` is who asks: with login on it is who was authenticated, whatever the request says. */
export function namesCaller(operation: Operation): boolean {
  const access = accessOf(operation);
  if (access !== 'operator' && access !== 'admin') return false;
  return operation.request instanceof z.ZodObject && 'user' in operation.request.shape;
}
