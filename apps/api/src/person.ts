/** The record of who changed what, where the row itself does not say it: a row of `person_event` in the transaction of the change. */
import { insertPersonEvent, type Dialect, type Procedure } from '@jobmon/entities';
import type { Call } from './context';

/** Nothing with login off: then nobody knows who it was. `operation` is the operation's name, `subject_id` what it changed. */
export function* recordPerson(dialect: Dialect, { principal }: Call, operation: string, subject_id: number): Procedure<void> {
  if (principal !== undefined) yield insertPersonEvent(dialect, { user: principal.user, operation, subject_id });
}
