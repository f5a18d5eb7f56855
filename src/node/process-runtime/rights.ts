/** The rights a container's processes run with, as arguments of setpriv(1). */
import { readFileSync } from 'node:fs';
import { type ContainerSpec } from '../runtime.ts';

/** Which user and group ids exist in the user namespace this program runs in. */
export type IdRange = {
  readonly users: (id: number) => boolean;
  readonly groups: (id: number) => boolean;
  /** False in an unprivileged user namespace, where setgroups(2) is refused. */
  readonly setgroups: boolean;
};

type Rights = Pick<
  ContainerSpec,
  | 'user'
  | 'group'
  | 'supplementalGroups'
  | 'privileged'
  | 'allowPrivilegeEscalation'
  | 'capabilities'
>;

/** The command line that gives up every right the spec does not ask for (K14). */
export function setprivArguments(spec: Rights, ids: IdRange): string[] {
  // Ids that the user namespace lacks cannot be had; root of that namespace is nobody outside it.
  const user = ids.users(spec.user) ? spec.user : 0;
  const group = ids.groups(spec.group) ? spec.group : 0;
  const groups = spec.supplementalGroups.filter(ids.groups);
  const args = ['--reuid', String(user), '--regid', String(group)];
  if (!ids.setgroups) args.push('--keep-groups');
  else if (groups.length > 0) args.push('--groups', groups.join(','));
  else args.push('--clear-groups');
  if (spec.privileged) return args;
  const wanted = capabilitySet(spec.capabilities);
  args.push('--bounding-set', wanted, '--inh-caps', wanted, '--ambient-caps', wanted);
  if (!spec.allowPrivilegeEscalation) args.push('--no-new-privs');
  return args;
}

/** `NET_ADMIN` and `CAP_NET_ADMIN` mean the same; `ALL` is a word of its own. */
function capabilitySet(capabilities: ContainerSpec['capabilities']): string {
  const names = (list: readonly string[]) =>
    list.map((name) => name.toLowerCase().replace(/^cap_/, ''));
  const added = names(capabilities.add);
  const dropped = names(capabilities.drop);
  if (added.includes('all')) {
    return ['+all', ...dropped.filter((name) => name !== 'all').map((name) => `-${name}`)].join();
  }
  // A capability named in both lists is had: `drop: [ALL], add: [X]` is the usual spelling.
  return ['-all', ...added.map((name) => `+${name}`)].join();
}

/** The user that the container's processes run as in the end. */
export function effectiveUser(spec: Pick<ContainerSpec, 'user'>): number {
  return ownIds().users(spec.user) ? spec.user : 0;
}

let known: IdRange | undefined;

/** Reads the id maps of this process once. */
export function ownIds(): IdRange {
  known ??= {
    users: mapped(readFileSync('/proc/self/uid_map', 'utf8')),
    groups: mapped(readFileSync('/proc/self/gid_map', 'utf8')),
    setgroups: readFileSync('/proc/self/setgroups', 'utf8').trim() === 'allow',
  };
  return known;
}

/** Lines of `first id inside, first id outside, count` (user_namespaces(7)). */
function mapped(map: string): (id: number) => boolean {
  const ranges = map
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+/).map(Number));
  return (id) => ranges.some(([first = 0, , count = 0]) => id >= first && id < first + count);
}
