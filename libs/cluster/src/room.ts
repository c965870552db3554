/** The room of this machine: what attempts take of its cores and its memory, and whether another one fits beside them. */
import { neededRoom, type Assignment, type ClusterRoom } from '@jobmon/contracts';
import { rounded } from './exit-status';

/** What one attempt takes. */
export type Takes = Omit<ClusterRoom, 'slots'>;

/** What an attempt takes of a cluster of this size: what it asks for, and at most all of it. */
export function roomOf({ requested_resources }: Assignment, size: ClusterRoom): Takes {
  const { cores, memory_gib } = neededRoom(requested_resources);
  return { cores: Math.min(cores, size.cores), memory_gib: Math.min(memory_gib, size.memory_gib) };
}

/** That an attempt asks for more than there is, as a sentence for whoever owns the machine; null when it does not. */
export function excessOf({ requested_resources }: Assignment, size: ClusterRoom): string | null {
  const { cores, memory_gib } = neededRoom(requested_resources);
  const beyond = [
    ...(cores > size.cores ? [`${cores} cores of ${size.cores}`] : []),
    ...(memory_gib > size.memory_gib ? [`${rounded(memory_gib)} GiB of memory of ${rounded(size.memory_gib)}`] : []),
  ];
  return beyond.length === 0 ? null : `it asks for ${beyond.join(' and ')}: it counts as asking for all of it, and runs alone`;
}

/** Fractions of GiB do not add up exactly. */
const ROUNDING = 1e-9;

/** Whether an attempt fits beside those that are there; alone it always does. */
export function fitsBeside(there: Taken, takes: Takes, size: ClusterRoom): boolean {
  if (there.count === 0) return true;
  if (there.count >= size.slots || there.cores + takes.cores > size.cores) return false;
  return there.memory_gib + takes.memory_gib <= size.memory_gib * (1 + ROUNDING);
}

/** What some attempts take together. */
export class Taken {
  count = 0;
  cores = 0;
  memory_gib = 0;

  add({ cores, memory_gib }: Takes): void {
    this.count += 1;
    this.cores += cores;
    this.memory_gib += memory_gib;
  }

  remove({ cores, memory_gib }: Takes): void {
    this.count -= 1;
    this.cores -= cores;
    this.memory_gib = this.count === 0 ? 0 : this.memory_gib - memory_gib;
  }
}
