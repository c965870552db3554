/** Conditions on workflows `w` with their tools `t`, for the lists of both protocols. */
import type { SqlValue } from '@jobmon/entities';

export interface Condition {
  readonly where: string;
  readonly params: readonly SqlValue[];
}

/** Ran by one of these users, in any of its runs. */
export function ofUsers(users: readonly string[]): Condition {
  const list = listOf(users);
  return {
    where: `EXISTS (SELECT 1 FROM workflow_run u WHERE u.workflow_id = w.id AND u.\`user\` ${list})`,
    params: users,
  };
}

export function ofTools(tools: readonly string[]): Condition {
  return { where: `t.name ${listOf(tools)}`, params: tools };
}

/** Letters. */
export function inStatuses(statuses: readonly string[]): Condition {
  return { where: `w.status ${listOf(statuses)}`, params: statuses };
}

/** One attribute with this key, this value, or both. */
export function withAttribute(key: string | undefined, value: string | undefined): Condition {
  const wanted = [
    ...(key === undefined ? [] : [['y.name = ?', key] as const]),
    ...(value === undefined ? [] : [['a.value = ?', value] as const]),
  ];
  return {
    where: `EXISTS (SELECT 1 FROM workflow_attribute a JOIN workflow_attribute_type y ON y.id = a.workflow_attribute_type_id
                     WHERE a.workflow_id = w.id AND ${wanted.map(([where]) => where).join(' AND ')})`,
    params: wanted.map(([, text]) => text),
  };
}

/** Named like one of these; `*` stands for any characters, and then capitals do not matter. */
export function named(patterns: readonly string[]): Condition {
  const parts = patterns.map((pattern): [string, string] =>
    pattern.includes('*')
      ? [`LOWER(COALESCE(w.name, '')) LIKE LOWER(?) ESCAPE '!'`, pattern.replace(/[!%_]/g, '!$&').replaceAll('*', '%')]
      : [`COALESCE(w.name, '') = ?`, pattern],
  );
  return { where: `(${parts.map(([where]) => where).join(' OR ')})`, params: parts.map(([, text]) => text) };
}

export function not({ where, params }: Condition): Condition {
  return { where: `NOT ${where}`, params };
}

function listOf(values: readonly string[]): string {
  return `IN (${values.map(() => '?').join(', ')})`;
}
