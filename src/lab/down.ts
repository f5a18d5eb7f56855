/** `fairlead down`: nothing of a lab stays on the host. */
import { existsSync } from 'node:fs';
import { UserError } from '../lib/errors.ts';
import { labPaths } from './paths.ts';
import { listLabs, readLabLoosely } from './state.ts';
import { removeLab, removeRemains } from './teardown.ts';

/** Removes one lab; `UserError` when there is none of that name. */
export async function down(name: string): Promise<void> {
  const paths = labPaths(name);
  if (listLabs().includes(name)) {
    const lab = readLabLoosely(paths);
    // Without root all but its files is gone with the namespaces it lived in.
    if (lab === undefined || process.getuid?.() !== 0) await removeRemains(paths);
    else await removeLab(lab, paths);
    return;
  }
  // An `up` that died before it wrote its configuration leaves a bare directory.
  if (existsSync(paths.state) || existsSync(paths.runtime)) {
    await removeRemains(paths);
    return;
  }
  const others = listLabs();
  throw new UserError('NO_SUCH_LAB', `Cannot take down lab "${name}": there is no such lab`, {
    hint:
      others.length === 0 ? 'There is no lab on this machine' : `These exist: ${others.join(', ')}`,
  });
}
