/** Statistics of measured values: what command line and screens show of time and memory. Pure. */
import { jStat } from 'jstat';

export interface Summary {
  readonly min: number;
  readonly max: number;
  readonly mean: number;
  readonly median: number;
  readonly percentiles: { p50: number; p90: number; p95: number; p99: number };
  /** Bounds of the mean at the confidence level asked for, two decimals; null without a level and for a single value. */
  readonly interval: [number, number] | null;
}

/** Undefined for no values. `confidence` between 0 and 1: Student's t over the sample's standard deviation (n - 1). */
export function summarize(values: Float64Array, confidence: number | null): Summary | undefined {
  const count = values.length;
  if (count === 0) return undefined;
  const sorted = Float64Array.from(values).sort();
  const mean = sum(sorted) / count;
  return {
    min: sorted[0]!,
    max: sorted[count - 1]!,
    mean,
    median: quantile(sorted, 0.5),
    percentiles: {
      p50: quantile(sorted, 0.5),
      p90: quantile(sorted, 0.9),
      p95: quantile(sorted, 0.95),
      p99: quantile(sorted, 0.99),
    },
    interval: confidence === null || count < 2 ? null : intervalOf(sorted, mean, confidence),
  };
}

function intervalOf(values: Float64Array, mean: number, confidence: number): [number, number] {
  let squares = 0;
  for (const value of values) squares += (value - mean) ** 2;
  const error = Math.sqrt(squares / (values.length - 1) / values.length);
  const half = jStat.studentt.inv(0.5 + confidence / 2, values.length - 1) * error;
  return [round(mean - half), round(mean + half)];
}

/** Linear between the two nearest ranks; half of the values are at most the quantile 0.5. */
function quantile(sorted: Float64Array, share: number): number {
  const rank = share * (sorted.length - 1);
  const below = sorted[Math.floor(rank)]!;
  return below + (sorted[Math.ceil(rank)]! - below) * (rank - Math.floor(rank));
}

function sum(values: Float64Array): number {
  let total = 0;
  for (const value of values) total += value;
  return total;
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
