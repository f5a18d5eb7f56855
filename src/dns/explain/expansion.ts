/** How the C libraries make the names they ask for out of a name as typed (resolv.conf(5)). */

/** What of a resolv.conf counts. */
export type Resolver = {
  readonly nameservers: readonly string[];
  readonly searches: readonly string[];
  readonly ndots: number;
};

export type Libc = 'glibc' | 'musl';

/** What came of a name, over all its types. */
export type Status = 'answered' | 'empty' | 'missing' | 'failed';

/** glibc reads no more than this (`RES_MAXNDOTS`). */
const ndotsMax = 15;

/** The settings of a resolv.conf; without the option a name with one dot is asked for as it is. */
export function resolverOf(conf: {
  readonly nameservers: readonly string[];
  readonly searches: readonly string[];
  readonly options: readonly string[];
}): Resolver {
  const option = conf.options.findLast((text) => text.startsWith('ndots:'));
  const ndots = option === undefined ? 1 : Number.parseInt(option.slice(6), 10);
  const { nameservers, searches } = conf;
  return { nameservers, searches, ndots: Math.min(ndotsMax, Number.isNaN(ndots) ? 1 : ndots) };
}

/** The names a library asks for, one after another, each with its final dot. */
export function candidates(name: string, { searches, ndots }: Resolver, libc: Libc): string[] {
  if (name.endsWith('.')) return [name];
  const asIs = `${name}.`;
  const searched = searches.map((zone) => `${name}.${zone.replace(/\.$/, '')}.`);
  const dots = name.split('.').length - 1;
  if (dots < ndots) return unique([...searched, asIs]);
  // musl does not search for a name with enough dots; glibc does, if it is not there as it is.
  return libc === 'musl' ? [asIs] : unique([asIs, ...searched]);
}

/** Whether a library asks for the next name: musl takes an empty answer and a failure for the last word. */
export function goesOn(libc: Libc, status: Status): boolean {
  return status === 'missing' || (libc === 'glibc' && status !== 'answered');
}

function unique(names: readonly string[]): string[] {
  return [...new Set(names)];
}
