import { kubeconfigFile, labPaths } from '../lab/paths.ts';
import { readLab } from '../lab/state.ts';

/** `fairlead kubeconfig` */
export function kubeconfig(options: { name: string }): void {
  const paths = labPaths(options.name);
  readLab(paths);
  console.log(kubeconfigFile(paths));
}
