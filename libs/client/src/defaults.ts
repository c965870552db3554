/**
 * What a tool, a workflow or a template gives to tasks that do not say it themselves: a cluster, attempts, and, for every cluster or for one
 * by name, resources and scales. Read when a workflow is checked or bound, so the order of setting and adding does not matter.
 */
import { JobmonError } from '@jobmon/contracts';
import { checkedAttempts, checkedText } from './bounds';
import { requestedResources, type ComputeResources } from './compute-resources';
import { keptScales, type KeptScales, type ResourceScales } from './resource-scales';
import type { DefaultsByCluster } from './resource-file';

export interface DefaultOptions {
  defaultClusterName?: string;
  /** On every cluster. */
  defaultComputeResources?: ComputeResources;
  /** By cluster; entries replace those for every cluster. */
  defaultComputeResourcesSet?: Readonly<Record<string, ComputeResources>>;
  /** On every cluster. */
  defaultResourceScales?: ResourceScales;
  /** By cluster; entries replace those for every cluster. */
  defaultResourceScalesSet?: Readonly<Record<string, ResourceScales>>;
  defaultMaxAttempts?: number;
}

/** Which part of a resource file is taken. */
export interface FileOptions {
  /** This cluster alone; else all that are there. */
  clusterName?: string;
  /** What the file does not have is no error. */
  ignoreMissingKeys?: boolean;
}

/** Stands for every cluster; no cluster has an empty name. */
const EVERY = '';

export class Defaults {
  #clusterName: string | undefined;
  #maxAttempts: number | undefined;
  readonly #resources = new Map<string, ComputeResources>();
  readonly #scales = new Map<string, KeptScales>();

  /** Throws MALFORMED with the rule that a value breaks. */
  constructor(options: DefaultOptions) {
    this.add(options);
  }

  /** Replaces what the options name. Throws MALFORMED with the rule that a value breaks. */
  add(options: DefaultOptions): void {
    if (options.defaultClusterName) this.setClusterName(options.defaultClusterName);
    if (options.defaultMaxAttempts !== undefined) this.setMaxAttempts(options.defaultMaxAttempts);
    if (options.defaultComputeResources !== undefined) this.#setResources(EVERY, options.defaultComputeResources);
    if (options.defaultResourceScales !== undefined) this.#scales.set(EVERY, keptScales(options.defaultResourceScales));
    const { defaultComputeResourcesSet = {}, defaultResourceScalesSet = {} } = options;
    for (const [cluster, resources] of Object.entries(defaultComputeResourcesSet))
      this.updateComputeResources(cluster, resources);
    for (const [cluster, scales] of Object.entries(defaultResourceScalesSet)) this.updateResourceScales(cluster, scales);
  }

  get clusterName(): string | undefined {
    return this.#clusterName;
  }

  setClusterName(clusterName: string): void {
    this.#clusterName = checkedText('the cluster name', clusterName, 255);
  }

  get maxAttempts(): number | undefined {
    return this.#maxAttempts;
  }

  setMaxAttempts(maxAttempts: number): void {
    this.#maxAttempts = checkedAttempts(maxAttempts);
  }

  /** Replaces what is asked for on a cluster. */
  setComputeResources(clusterName: string, resources: ComputeResources): void {
    this.#setResources(checkedText('the cluster name', clusterName, 255), resources);
  }

  /** Replaces single entries of what is asked for on a cluster. */
  updateComputeResources(clusterName: string, resources: ComputeResources): void {
    this.setComputeResources(clusterName, { ...this.#resources.get(clusterName), ...resources });
  }

  /** Replaces the scales on a cluster. */
  setResourceScales(clusterName: string, scales: ResourceScales): void {
    this.#scales.set(checkedText('the cluster name', clusterName, 255), keptScales(scales));
  }

  /** Replaces single entries of the scales on a cluster. */
  updateResourceScales(clusterName: string, scales: ResourceScales): void {
    const name = checkedText('the cluster name', clusterName, 255);
    this.#scales.set(name, { ...this.#scales.get(name), ...keptScales(scales) });
  }

  /** Takes what a file says, cluster by cluster. Throws MALFORMED when it does not have what is asked for; `owner` names who asks. */
  takeFile(
    owner: string,
    file: DefaultsByCluster | undefined,
    { clusterName, ignoreMissingKeys = false }: FileOptions = {},
  ): void {
    const known = Object.keys(file?.computeResources ?? {});
    const isMissing = clusterName === undefined ? known.length === 0 : !known.includes(clusterName);
    if (isMissing && !ignoreMissingKeys) {
      const what = clusterName === undefined ? 'no resources' : `no resources on cluster '${clusterName}'`;
      const there = known.length > 0 ? `; it has those on ${known.join(', ')}` : '';
      throw new JobmonError('MALFORMED', `the resource file has ${what} for ${owner}${there}`);
    }
    if (file === undefined) return;
    const only = <Entries>(all: Readonly<Record<string, Entries>>): Record<string, Entries> =>
      clusterName === undefined ? all : Object.hasOwn(all, clusterName) ? { [clusterName]: all[clusterName]! } : {};
    this.#take({ computeResources: only(file.computeResources), resourceScales: only(file.resourceScales) });
  }

  /** What is asked for on a cluster, the wider first. */
  resourcesOn(cluster: string): (ComputeResources | undefined)[] {
    return [this.#resources.get(EVERY), this.#resources.get(cluster)];
  }

  /** How it grows on a cluster, the wider first. */
  scalesOn(cluster: string): (KeptScales | undefined)[] {
    return [this.#scales.get(EVERY), this.#scales.get(cluster)];
  }

  #take({ computeResources, resourceScales }: DefaultsByCluster): void {
    for (const [cluster, resources] of Object.entries(computeResources)) this.setComputeResources(cluster, resources);
    for (const [cluster, scales] of Object.entries(resourceScales)) this.setResourceScales(cluster, scales);
  }

  #setResources(cluster: string, resources: ComputeResources): void {
    requestedResources(resources);
    this.#resources.set(cluster, { ...resources });
  }
}
