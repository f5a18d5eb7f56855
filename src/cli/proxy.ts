import { runStandalone } from '../proxy/standalone/run.ts';
import type { FlagValues } from '../proxy/standalone/config.ts';
import { version } from '../lib/version.ts';

type Options = {
  readonly config?: string;
  readonly cleanup?: 'all' | 'own';
  readonly initOnly?: boolean;
} & Readonly<Record<string, string | boolean | undefined>>;

/** `fairlead proxy`: keeps the Service rules of this machine in the place of kube-proxy. */
export async function proxy(options: Options, flags: FlagValues): Promise<void> {
  const { config, cleanup, initOnly } = options;
  await runStandalone({ config, flags, cleanup, initOnly, version });
}
