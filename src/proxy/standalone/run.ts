/** `fairlead proxy`: the service proxy as a process of its own, in the place of kube-proxy. */
import { existsSync, readFileSync } from 'node:fs';
import { release } from 'node:os';
import { systemClock } from '../../lib/clock.ts';
import { messageOf } from '../../lib/errors.ts';
import { keepHeapSmall } from '../../lib/heap.ts';
import { createLogger, type Logger } from '../../lib/log.ts';
import { checkRights } from './check-mode.ts';
import { cleanUp } from './cleanup.ts';
import { watchConfig } from './config-watch.ts';
import { loadConfig, type FlagValues } from './config.ts';
import type { ProxyConfig } from './fields.ts';
import { checkKernelVersion } from './kernel-version.ts';
import { loadCredentials, nodeNameOf, startProcess, type RunningProcess } from './process.ts';
import { beTheOnlyOne } from './only-one.ts';
import { setUpMachine } from './setup.ts';
import { chooseLevel } from './verbosity.ts';

export type StandaloneOptions = {
  /** A file in kube-proxy's format. */
  readonly config?: string | undefined;
  readonly flags: FlagValues;
  /** Removes rules and ends; `own` leaves those of kube-proxy. */
  readonly cleanup?: 'all' | 'own' | undefined;
  readonly initOnly?: boolean | undefined;
  readonly version: string;
};

/** Runs until a signal ends the process, or does what `cleanup` or `initOnly` asks for. */
export async function runStandalone(options: StandaloneOptions): Promise<void> {
  const { config, unused } = await loadConfig(options.config, options.flags);
  if (options.cleanup !== undefined) {
    const all = options.cleanup === 'all';
    for (const line of cleanUp(all ? ['own', 'kubeProxy'] : ['own']))
      console.log(`removed ${line}`);
    if (all && hasLegacyRules()) console.error(legacyHint);
    return;
  }
  checkKernelVersion(release());
  const level = chooseLevel(config['logging.verbosity']);
  const log = createLogger('proxy', level, config['logging.format']);
  if (unused.length > 0) log.warn({ fields: unused }, 'fields without effect here');
  if (options.initOnly === true) {
    setUpMachine(config, log);
    log.info('the machine is set up; --init-only asked for no more');
    return;
  }
  await runUntilSignal(options, config, log);
}

async function runUntilSignal(
  options: StandaloneOptions,
  config: ProxyConfig,
  log: Logger,
): Promise<void> {
  const { version, flags, config: file } = options;
  log.info({ version, node: nodeNameOf(config), mode: config.mode }, 'starting');
  keepHeapSmall();
  // Whatever ends the start is found before anything is touched.
  checkRights();
  const credentials = await loadCredentials(config);
  let running: RunningProcess | undefined;
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.once(signal, () => {
      log.info({ signal }, 'ending; rules and connections stay');
      void (running?.stop() ?? Promise.resolve()).finally(() => process.exit(0));
    });
  }
  const onReady = () => {
    log.info('the rules of all Services are in the kernel');
    removeKubeProxy(log);
  };
  await beTheOnlyOne(systemClock, log);
  setUpMachine(config, log);
  const begun = await startProcess({ config, credentials, version, log, onReady });
  running = begun;
  // From now on: what it waits for may be what the file has wrong.
  const onChange = () => {
    log.info({ file }, 'the configuration changed: starting anew with it');
    void begun.stop().finally(startAnew);
  };
  const unwatch = file && watchConfig({ file, flags, config, log, onChange });
  try {
    await begun.started;
  } catch (error) {
    if (unwatch) unwatch();
    await begun.stop();
    throw error;
  }
}

/** The same process with the same arguments, and nothing of what it held. */
function startAnew(): void {
  const args = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  process.execve!(process.execPath, args, process.env);
}

/** What another mode left would compete with our rules; ours are in place by now (P133). */
function removeKubeProxy(log: Logger): void {
  try {
    const removed = cleanUp(['kubeProxy']);
    if (removed.length > 0) log.warn({ removed }, 'removed what kube-proxy left');
  } catch (error) {
    log.error({ error: messageOf(error) }, 'cannot remove what kube-proxy left');
  }
  if (hasLegacyRules()) log.warn(legacyHint);
}

const legacyHint =
  'This machine has rules of iptables-legacy, which only its own tools can remove: look for KUBE- in iptables-legacy-save';

/** Only whether there is a table can be seen without its own tools. */
function hasLegacyRules(): boolean {
  const names = '/proc/net/ip_tables_names';
  return existsSync(names) && readFileSync(names, 'utf8').split('\n').includes('nat');
}
