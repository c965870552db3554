/** Statistics, against figures worked out by hand and tables of Student's t. */
import { summarize } from './statistics';

describe('statistics', () => {
  it('L3 are none for no values', () => {
    expect(summarize(Float64Array.of(), 0.95)).toBeUndefined();
  });

  it('L3 hold quantiles between the nearest ranks, whatever the order of the values', () => {
    expect(summarize(Float64Array.of(4, 1, 3, 2), null)).toEqual({
      min: 1,
      max: 4,
      mean: 2.5,
      median: 2.5,
      percentiles: { p50: 2.5, p90: 3.7, p95: 3.8499999999999996, p99: 3.9699999999999998 },
      interval: null,
    });
  });

  it('L3 know the interval of the specification, and none for one value', () => {
    expect(summarize(Float64Array.of(300, 450, 600), 0.95)!.interval).toEqual([77.38, 822.62]);
    expect(summarize(Float64Array.of(10, 15, 20), 0.95)!.interval).toEqual([2.58, 27.42]);
    expect(summarize(Float64Array.of(10), 0.95)!.interval).toBeNull();
  });

  it.each([
    // Values from printed tables of Student's t: degrees of freedom, confidence, two-sided factor.
    [1, 0.9, 6.314],
    [2, 0.99, 9.925],
    [4, 0.95, 2.776],
    [9, 0.98, 2.821],
    [30, 0.95, 2.042],
    [120, 0.99, 2.617],
  ])('L3 take Student’s t with %d degrees of freedom at %d as %d', (freedom, confidence, factor) => {
    // n values of 0 and 2 around 1, or so that mean and deviation are known by the formula itself.
    const values = Float64Array.from({ length: freedom + 1 }, (_, nth) => (nth % 2 === 0 ? 0 : 2_000_000));
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const deviation = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / freedom);
    const [low, high] = summarize(values, confidence)!.interval!;
    expect(((high - low) / 2 / deviation) * Math.sqrt(values.length)).toBeCloseTo(factor, 3);
  });
});
