/** The page of the bus: every subject, who may send to it, who listens and what it carries, from the contracts and the table of rights. */
import { EVENTS, MESSAGE_BYTES_MAX, OPERATIONS, subjectOf, subjectOfEvent, type Operation } from '@jobmon/contracts';
import { BUS_SERVICES, RIGHTS, subjectsOf, type BusService } from '@jobmon/messaging';
import { z } from 'zod';

/** What a JSON schema says, as far as the page tells it. */
interface Shape {
  readonly type?: string | readonly string[];
  readonly properties?: Readonly<Record<string, Shape>>;
  readonly required?: readonly string[];
  readonly items?: Shape | readonly Shape[];
  readonly anyOf?: readonly Shape[];
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
}

/** `docs/bus.md`, whole. */
export function busPage(): string {
  const operations = OPERATIONS.filter(({ owner }) => owner !== 'api').sort((a, b) => (subjectOf(a) < subjectOf(b) ? -1 : 1));
  const events = [...EVENTS].sort((a, b) => (a.name < b.name ? -1 : 1));
  const rights = BUS_SERVICES.map((service) => {
    const { publish, subscribe } = subjectsOf(service);
    return `### ${service}\n\n- sends to ${publish.map(code).join(', ')}\n- listens to ${subscribe.map(code).join(', ')}\n`;
  });
  return `# The bus

Generated from the contracts by \`npm run docs\`; a test fails when it is stale. Processes speak over NATS by requests with a reply, and by
events, which are hints: losing one costs time, never a task. Nothing on this bus is stored but log records, so an empty store loses no work.

A request is \`{"requests": [...], "context": {...}}\`, many calls of one operation; the reply is a list with one outcome for each,
\`{"ok": ...}\` or \`{"error": {"code", "message", "details"}}\`. It goes to one member of the owner's group. A text that is no such request is
answered with one error, code MALFORMED, in the place of the list, and counted. So is a subject that no process knows (an unknown operation,
another version than \`v1\`), with code UNAVAILABLE and after a second, which leaves a newer release the time to answer. While no process of a
service is there, NATS itself says so by its status 503, which callers see as UNAVAILABLE too. No message is larger than
${MESSAGE_BYTES_MAX} bytes. Operations of the api are not on the bus: they are asked for over HTTP.

Request and reply stand below as their schemas have them on the wire; \`?\` behind a name: it may be absent.

## Operations

| subject | asked by | request | reply |
| --- | --- | --- | --- |
${operations.map(rowOf).join('\n')}

## Events

| subject | told by | heard by | payload |
| --- | --- | --- | --- |
${events.map((event) => `| ${code(subjectOfEvent(event))} | ${servicesWith((service) => RIGHTS[service].tells.includes(event))} | ${servicesWith((service) => RIGHTS[service].hears.includes(event))} | ${code(shown(event.payload, 'output'))} |`).join('\n')}

## Rights

What each service may do, and nothing else. \`natsAccounts\` in \`libs/messaging/src/rights.ts\` writes it as accounts of a NATS server: one user
for each service, named like it. A second word behind a subject is the group as whose member alone it may be listened to; \`_INBOX\` is where
answers come in, a place of its own for each user.

${rights.join('\n')}`;
}

function rowOf(operation: Operation): string {
  const asked = servicesWith((service) => RIGHTS[service].asks.includes(operation));
  return `| ${code(subjectOf(operation))} | ${asked} | ${code(shown(operation.request, 'input'))} | ${code(shown(operation.reply, 'output'))} |`;
}

function servicesWith(has: (service: BusService) => boolean): string {
  return BUS_SERVICES.filter(has).join(', ');
}

const code = (text: string): string => `\`${text.replaceAll('|', '/').replaceAll('`', "'")}\``;

function shown(schema: z.ZodType, io: 'input' | 'output'): string {
  return shapeOf(z.toJSONSchema(schema, { io, unrepresentable: 'any', reused: 'inline' }) as Shape);
}

function shapeOf(shape: Shape): string {
  if (shape.const !== undefined) return JSON.stringify(shape.const);
  if (shape.enum !== undefined) return shape.enum.map((one) => JSON.stringify(one)).join(' or ');
  if (shape.anyOf !== undefined) return [...new Set(shape.anyOf.map(shapeOf))].join(' or ');
  if (shape.properties !== undefined) {
    const names = Object.entries(shape.properties).map(
      ([name, member]) => `${name}${shape.required?.includes(name) ? '' : '?'}: ${shapeOf(member)}`,
    );
    return names.length === 0 ? '{}' : `{ ${names.join(', ')} }`;
  }
  if (shape.type === 'array')
    return Array.isArray(shape.items) || shape.items === undefined ? 'list' : `(${shapeOf(shape.items as Shape)})[]`;
  if (Array.isArray(shape.type)) return shape.type.join(' or ');
  return (shape.type as string | undefined) ?? 'any';
}
