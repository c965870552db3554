/** The state machine as a process: `node dist/apps/state-machine/main.js`. */
import 'reflect-metadata';
import { CLIENTS_HEARD, databaseNeed, servedSeconds } from '@jobmon/entities';
import { startModules, startService } from '@jobmon/messaging/service';
import { stateMachineModule } from './module';

void startService({
  name: 'state-machine',
  needs: ({ config, log }) => ({ database: databaseNeed(config, log) }),
  isDrainedFirst: true,
  begin: ({ config, log, messenger, database }) => {
    const clientsServed = (): Promise<number> => servedSeconds(database, CLIENTS_HEARD);
    const context = { config, log, messenger, database, clientsServed, writer: config.service.instance_id };
    return startModules(log, [stateMachineModule(context)]);
  },
});
