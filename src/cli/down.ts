import { releaseNamespaces } from '../lab/rights.ts';
import { down as takeDown } from '../lab/down.ts';
import { listLabs } from '../lab/state.ts';

/** `fairlead down` */
export async function down(options: {
  name: string;
  all?: boolean;
  json?: boolean;
}): Promise<void> {
  const names = options.all === true ? listLabs() : [options.name];
  for (const name of names) {
    const started = performance.now();
    await releaseNamespaces(name);
    await takeDown(name);
    if (options.json !== true)
      console.log(
        `Lab "${name}" is gone, in ${((performance.now() - started) / 1000).toFixed(2)} s.`,
      );
  }
  if (options.json === true) console.log(JSON.stringify({ removed: names }));
  else if (names.length === 0) console.log('There is no lab on this machine.');
}
