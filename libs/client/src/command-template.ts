/**
 * A command with placeholders: `{name}` stands for a value, `{{` and `}}` for braces themselves, as in Python's format. The
 * names are found twice by the same rule: by the compiler in a literal (`PlaceholderOf`), and when the program runs.
 */
import { JobmonError } from '@jobmon/contracts';

/** The names of the placeholders in a literal; any text when the command is not a literal. */
export type PlaceholderOf<Command extends string, Found extends string = never> = string extends Command
  ? string
  : Command extends `${string}{${infer Rest}`
    ? Rest extends `{${infer After}`
      ? PlaceholderOf<After, Found>
      : Rest extends `${infer Name}}${infer After}`
        ? PlaceholderOf<After, Found | Name>
        : Found
    : Found;

/** A command taken apart: `texts[0] value texts[1] value … texts[n]`, where `names[i]` names the value behind `texts[i]`. */
export interface CommandTemplate {
  readonly texts: readonly string[];
  readonly names: readonly string[];
}

/** Takes a command apart. Throws MALFORMED for a lone brace and for a placeholder that is not a plain name. */
export function parseCommandTemplate(command: string): CommandTemplate {
  const texts: string[] = [];
  const names: string[] = [];
  let text = '';
  for (let at = 0; at < command.length; at++) {
    const char = command[at]!;
    if (char !== '{' && char !== '}') {
      text += char;
    } else if (command[at + 1] === char) {
      text += char;
      at++;
    } else {
      const end = char === '{' ? command.indexOf('}', at) : -1;
      if (end === -1)
        throw malformed(command, `has a single '${char}' at character ${at + 1}; write '${char}${char}' for a brace`);
      const name = command.slice(at + 1, end);
      if (!/^[A-Za-z_]\w*$/.test(name)) {
        throw malformed(command, `has a placeholder '{${name}}' that is no name; write '{{' and '}}' for braces`);
      }
      texts.push(text);
      names.push(name);
      text = '';
      at = end;
    }
  }
  texts.push(text);
  return { texts, names };
}

/** The command with a value in each placeholder. */
export function fillCommandTemplate(template: CommandTemplate, valueOf: (name: string) => string): string {
  let command = template.texts[0]!;
  for (let i = 0; i < template.names.length; i++) command += valueOf(template.names[i]!) + template.texts[i + 1]!;
  return command;
}

function malformed(command: string, what: string): JobmonError {
  const shown = command.length > 60 ? `${command.slice(0, 57)}...` : command;
  return new JobmonError('MALFORMED', `the command template "${shown}" ${what}`);
}
