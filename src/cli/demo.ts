import { createHttpClient } from '../client/http-client.ts';
import { loadKubeconfig } from '../client/kubeconfig.ts';
import {
  applyShop,
  playChurn,
  playScenes,
  removeShop,
  type ChurnScene,
  type Demo,
  type Scene,
} from '../lab/demo.ts';
import { kubeconfigFile, labPaths } from '../lab/paths.ts';
import { runWhereLabLives } from '../lab/rights.ts';
import { readLab } from '../lab/state.ts';

/** Requests per second and seconds of the churn scene. */
const load = { perSecond: 200, seconds: 6 };

/** `fairlead demo` */
export async function demo(options: {
  name: string;
  clean?: boolean;
  json?: boolean;
}): Promise<void> {
  if ((await runWhereLabLives(options.name, process.argv.slice(2))) === 'inside') return;
  const paths = labPaths(options.name);
  const lab = readLab(paths);
  using client = createHttpClient(await loadKubeconfig(kubeconfigFile(paths)));
  const stage: Demo = { lab, paths, client };
  if (options.clean === true) {
    await removeShop(stage);
    console.log('The shop is being removed: kubectl get namespace shop');
    return;
  }
  const scenes: Scene[] = [];
  const say = (text: string) => options.json !== true && console.log(text);
  say('Applying examples/shop …');
  const count = await applyShop(stage);
  say(`${count} objects applied, every pod is ready.\n`);
  await playScenes(stage, (scene) => {
    scenes.push(scene);
    say(sceneText(scene));
  });
  say(
    `Pods die, the Service stays: ${load.perSecond} requests a second to http://backend while each of its pods is deleted …`,
  );
  const churn = await playChurn(stage, load.perSecond, load.seconds);
  if (options.json === true) console.log(JSON.stringify({ scenes, churn }));
  else console.log(`${churnText(churn)}\n${nextText(options.name)}`);
}

function sceneText(scene: Scene): string {
  const counted = (counts: Record<string, number>) =>
    Object.entries(counts)
      .toSorted(([a], [b]) => a.localeCompare(b))
      .map(([text, times]) => (times === 1 ? text : `${text} (${times} x)`));
  const answers = counted(scene.answered.counts);
  const failures = counted(scene.answered.failures).map((text) => `failed with ${text}`);
  return [
    `${scene.kind}: Service ${scene.service}, ${scene.address}`,
    `  asked     ${scene.asked}`,
    ...[...answers, ...failures].map(
      (text, index) => `  ${index === 0 ? 'answered ' : '         '} ${text}`,
    ),
    `  look      ${scene.look}`,
    '',
  ].join('\n');
}

function churnText(churn: ChurnScene): string {
  const failures = Object.entries(churn.failures).map(([text, count]) => `${text} ${count} x`);
  return [
    `  requests  ${churn.sent} sent, ${churn.failed} failed${failures.length > 0 ? ` (${failures.join(', ')})` : ''}`,
    `  before    ${churn.before.join(' ')}`,
    `  after     ${churn.after.join(' ')}`,
    '  look      kubectl -n shop get endpoints backend -w',
    '',
  ].join('\n');
}

function nextText(name: string): string {
  const flag = name === 'lab' ? '' : ` --name ${name}`;
  return [
    'Next:',
    `  export KUBECONFIG=$(bin/fairlead kubeconfig${flag})`,
    '  kubectl get pods -A -o wide',
    '  kubectl -n shop get endpoints',
    `  bin/fairlead node kill node-2${flag}     # then watch: kubectl get nodes,pods -A -w`,
    `  bin/fairlead down${flag}`,
  ].join('\n');
}
