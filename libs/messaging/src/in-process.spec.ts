import { inProcessMessenger } from './in-process';
import { messengerConformance } from './messenger.conformance';

messengerConformance('in-process', { members_max: 1, open: async (_count, log) => [inProcessMessenger({ log })] });
