/**
 * The order in which Jest runs the specs: what takes long or mostly waits begins first, so that at the end no worker is left alone with
 * it. On a new clone Jest knows no times and goes by the size of the files, which says nothing of stories.
 */
import Sequencer from '@jest/test-sequencer';

/** Specs that begin first, in this order; behind them whatever Jest thinks. Seconds are those of a run alone on two cores. */
const FIRST = [
  'python-client.e2e', // 230
  'fuzz.db', // 40
  'start.e2e', // 30
  'v3/load.db', // 30
  'costs.e2e', // 27
  'stop.e2e', // 26
  'v3/bad-input.db', // 25
  '.e2e',
  'agent.spec', // 20
  'adoption', // 14
];

const rankOf = ({ path }) => {
  const rank = FIRST.findIndex((name) => path.includes(name));
  return rank === -1 ? FIRST.length : rank;
};

export default class TestOrder extends Sequencer {
  sort(tests) {
    return super.sort(tests).sort((a, b) => rankOf(a) - rankOf(b));
  }
}
