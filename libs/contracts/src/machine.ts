/**
 * A state machine as a table: its states with the letters of the database, the pairs that are valid, and the pairs that are
 * legal to receive but come too late and change nothing. Each pair carries its reason. Deciding is a look-up; this file
 * touches no row.
 */

/** What the table says about moving from one state to another. */
export type Verdict =
  /** In the table: the move happens. */
  | 'valid'
  /** The lost half of a race, legal to receive, changes nothing. */
  | 'untimely'
  /** Already there: a repeat, changes nothing. */
  | 'repeat'
  /** Not in the table. */
  | 'invalid';

export interface Machine<Letter extends string> {
  /** The ERD's table name: `task_instance`. */
  readonly name: string;
  /** Every letter with its label and one sentence on its meaning; these are the seed rows of the status table. */
  readonly states: Readonly<Record<Letter, { readonly label: string; readonly meaning: string }>>;
  readonly initial: Letter;
  /** States that nothing of the machine itself leaves within one attempt or run. */
  readonly final: ReadonlySet<Letter>;
  /** `'Q→I'` to the reason why it is legal. */
  readonly valid: Readonly<Record<string, string>>;
  /** `'D→U'` to the race that causes it. */
  readonly untimely: Readonly<Record<string, string>>;
}

export type LetterOf<M> = M extends Machine<infer Letter> ? Letter : never;

/**
 * Declares a machine and proves the table sound: every pair names two known states, no pair is both valid and untimely.
 * Throws at load time otherwise, so a typing slip can't reach a database.
 */
export function machine<const Letter extends string>(table: {
  name: string;
  states: Record<Letter, { label: string; meaning: string }>;
  initial: NoInfer<Letter>;
  final: readonly NoInfer<Letter>[];
  valid: Record<string, string>;
  untimely?: Record<string, string>;
}): Machine<Letter> {
  const untimely = table.untimely ?? {};
  for (const pair of [...Object.keys(table.valid), ...Object.keys(untimely)]) {
    const [from, to, ...rest] = pair.split('→');
    if (from === undefined || to === undefined || rest.length > 0 || !(from in table.states) || !(to in table.states)) {
      throw new Error(`machine ${table.name}: '${pair}' does not name two of its states`);
    }
    if (pair in table.valid && pair in untimely) throw new Error(`machine ${table.name}: '${pair}' is both valid and untimely`);
  }
  return { ...table, untimely, final: new Set(table.final) };
}

/** What the table says about one pair. Total: every ordered pair of letters has a verdict. */
export function verdict<Letter extends string>(m: Machine<Letter>, from: Letter, to: Letter): Verdict {
  const pair = `${from}→${to}`;
  if (pair in m.valid) return 'valid';
  if (from === to) return 'repeat';
  return pair in m.untimely ? 'untimely' : 'invalid';
}
