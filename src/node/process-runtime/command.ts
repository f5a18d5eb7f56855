/** The command line of a container and of what is executed inside it. */
import { accessSync, constants, statSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { UserError } from '../../lib/errors.ts';
import { type ContainerSpec } from '../runtime.ts';
import { ownIds, setprivArguments } from './rights.ts';

const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

type Environment = Readonly<Record<string, string>>;

/** A program to start with the rights of root, in parts that go one after the other. */
export type Launch = {
  /** Gives up the rights that the container does not have, and becomes what follows. */
  readonly rights: readonly string[];
  /** The command, after what sets the variables that have to wait until then. */
  readonly command: readonly string[];
  readonly env: Environment;
};

/**
 * What puts on the container's rights and environment, then becomes the command.
 * Runs inside the container's namespaces, as everything it names is looked up there.
 */
export function launch(
  spec: ContainerSpec,
  command: readonly string[],
  extra: Environment = {},
): Launch {
  const env: Environment = { ...defaultEnvironment(spec), ...spec.env, ...extra };
  const late = Object.entries(env).filter(([name]) => !isHarmless(name));
  const early = Object.entries(env).filter(([name]) => isHarmless(name));
  const isAmbiguous = command[0]?.includes('=') === true;
  const before: string[] = [];
  if (late.length > 0 || isAmbiguous) {
    before.push(tool('env'), ...late.map(([name, value]) => `${name}=${value}`));
  }
  // env(1) would take a program with such a name for one more variable.
  if (isAmbiguous) before.push(tool('sh'), '-c', 'exec "$@"', 'sh');
  return {
    rights: [tool('setpriv'), ...setprivArguments(spec, ownIds())],
    command: [...before, ...command],
    env: Object.fromEntries(early),
  };
}

/**
 * Whether a variable may be set while the launcher still has root's rights. The loader, the C
 * library and the shell act on some; a shell drops names it cannot spell. Those are set by env(1)
 * after the rights are gone.
 */
export function isHarmless(name: string): boolean {
  if (!/^[A-Za-z_]\w*$/.test(name)) return false;
  return !/^(LD_|GLIBC|GCONV|MALLOC|LIB|LC_|LANG|LOC|NIS|NLS|RES_|RESOLV|HOSTALIASES|TMP|TZ|GETCONF|ENV$|BASH|SHELLOPTS|PS\d|IFS|CDPATH|PPID|PWD|OPT|OLDPWD)/.test(
    name,
  );
}

function defaultEnvironment(spec: ContainerSpec): Record<string, string> {
  return { PATH: DEFAULT_PATH, HOME: spec.user === 0 ? '/root' : '/' };
}

/** Fails with a clear text, before anything is started, when the command cannot run. */
export function checkCommand(spec: ContainerSpec, command: readonly string[]): void {
  const [program = ''] = command;
  const directory = spec.workingDir === '' ? '/' : spec.workingDir;
  if (!isDirectory(directory)) {
    throw cannotStart(spec, `its working directory "${directory}" does not exist`);
  }
  const found = program.includes('/')
    ? isExecutable(isAbsolute(program) ? program : join(directory, program))
    : (spec.env.PATH ?? DEFAULT_PATH).split(':').some((dir) => isExecutable(join(dir, program)));
  if (!found) throw cannotStart(spec, `"${program}" is not an executable file of this node`);
}

function cannotStart(spec: ContainerSpec, found: string): UserError {
  return new UserError('CANNOT_START', `Cannot start container "${spec.name}": ${found}`, {
    hint: 'The image runs with the files of the node: name a program that is installed there',
  });
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** Where the tools that every Linux has are found; util-linux and the shell. */
export function tool(name: 'sh' | 'cat' | 'setpriv' | 'setsid' | 'env' | 'mount'): string {
  let path = tools.get(name);
  if (path === undefined) {
    path = ['/usr/bin', '/bin', '/usr/sbin', '/sbin']
      .map((directory) => join(directory, name))
      .find(isExecutable);
    if (path === undefined) {
      throw new UserError('TOOL_MISSING', `Cannot run containers: "${name}" is not installed`, {
        hint: 'Install util-linux and coreutils',
      });
    }
    tools.set(name, path);
  }
  return path;
}

const tools = new Map<string, string>();
