/**
 * What is asked of whole workflows and of client runs, behind lanes of its own. A request of many tasks is done in pieces, each a
 * transaction that waits for its turn in the lane, so that a reset of a million tasks holds up nobody's link.
 */
import { JobmonError, resetTasks, type ReplyOf, type RequestOf } from '@jobmon/contracts';
import type { Procedure } from '@jobmon/entities';
import { replyOf, type Messenger, type Outcome } from '@jobmon/messaging';
import { Lane } from './lane';
import { reset } from './reset';
import type { StateMachineContext } from './state-machine';

/** Requests and pieces that wait; each is a transaction of its own. */
const WAITING_MAX = 2_000;

interface Piece {
  readonly workflow_id: number;
  readonly run: () => Promise<unknown>;
}

export class WorkflowWide {
  private readonly pieces: Lane<Piece, unknown>;
  private readonly writer: string;

  constructor(private readonly context: StateMachineContext) {
    this.writer = `${(context.writer ?? 'state-machine').slice(0, 50)}/wide`;
    this.pieces = new Lane<Piece, unknown>({
      name: 'pieces',
      log: context.log,
      rows_max: 1,
      bytes_max: 1,
      waiting_max: WAITING_MAX,
      sizeOf: () => 1,
      keyOf: (piece) => piece.workflow_id,
      write: async ([piece]) => [{ ok: await (piece as Piece).run() }],
    });
  }

  /** Answers its operations on the messenger. */
  handle(messenger: Messenger): void {
    messenger.handle(resetTasks, (requests) => outcomes(requests, (request) => this.resetTasks(request)));
  }

  /** Takes nothing new and waits for what was taken. */
  async drain(): Promise<void> {
    await this.pieces.drain();
  }

  resetTasks(request: RequestOf<typeof resetTasks>): Promise<ReplyOf<typeof resetTasks>> {
    return this.piece(request.workflow_id, 'task.reset', () => reset(this.context.database.dialect, this.writer, request));
  }

  /** One transaction in its turn; its error is thrown. */
  private async piece<T>(workflow_id: number, label: string, procedure: () => Procedure<T>): Promise<T> {
    const run = (): Promise<T> => this.context.database.write({ label }, procedure);
    return replyOf((await this.pieces.add({ workflow_id, run })) as Outcome<T>);
  }
}

/** An outcome for each request; they are done side by side. */
function outcomes<Request, Reply>(
  requests: readonly Request[],
  answer: (request: Request) => Promise<Reply>,
): Promise<Outcome<Reply>[]> {
  return Promise.all(
    requests.map(async (request): Promise<Outcome<Reply>> => {
      try {
        return { ok: await answer(request) };
      } catch (thrown) {
        return { error: JobmonError.from(thrown).toBody() };
      }
    }),
  );
}
