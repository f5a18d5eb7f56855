/** Waiting for a new lab to answer, with light requests of our own: this is the way to the first second. */
import { createSocket } from 'node:dgram';
import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import { assert, messageOf, UserError, WorldError } from '../lib/errors.ts';
import { decodeMessage } from '../dns/wire/decode.ts';
import { encodeMessage } from '../dns/wire/encode.ts';
import { CLASS, FLAG, rcodeOf, TYPE } from '../dns/wire/message.ts';
import { nameOf } from '../dns/wire/name.ts';
import type { Node } from '../api/types.ts';
import type { LabConfig } from './config.ts';
import { keyFiles } from './keys.ts';
import { logFile, type LabPaths } from './paths.ts';
import { isOpen } from './ports.ts';
import { findComponent } from './processes.ts';

/** Between two questions to something that does not answer yet. */
const pauseMs = 10;
/** After this long in the life of this process, a server without a process id has ended. */
const supervisorStartsWithinMs = 2000;

export async function waitForApi(
  lab: LabConfig,
  paths: LabPaths,
  signal: AbortSignal,
): Promise<void> {
  // Knocking with TLS takes CPU that the server needs while it starts.
  const what = `API of lab "${lab.name}"`;
  await until(signal, what, paths, () => isOpen('127.0.0.1', lab.apiPort));
  await until(signal, what, paths, async () => (await get(lab, paths, '/readyz')) === 'ok');
}

export async function waitForNodes(
  lab: LabConfig,
  paths: LabPaths,
  signal: AbortSignal,
): Promise<void> {
  await until(signal, `nodes of lab "${lab.name}"`, paths, async () => {
    const { items } = JSON.parse(await get(lab, paths, '/api/v1/nodes')) as { items: Node[] };
    return items.filter(isReady).length >= lab.nodes.length;
  });
}

/** Whether the node's agent says that it can run pods. */
export function isReady(node: Node): boolean {
  return (
    node.status?.conditions?.some(
      (condition) => condition.type === 'Ready' && condition.status === 'True',
    ) === true
  );
}

/**
 * Asks the cluster's DNS for the API's own Service, from the host and through the virtual IP. A question
 * sent before the rule is there is lost, so it is sent again and again: a resolver would wait for seconds.
 */
export async function askDns(lab: LabConfig, signal: AbortSignal): Promise<void> {
  const address = lab.clusterDns[0]!;
  const name = nameOf(['kubernetes', 'default', 'svc', ...lab.clusterDomain.split('.')]);
  assert(name !== undefined, 'the name of the API is a name');
  const type = lab.families[0] === 'ipv4' ? TYPE.A : TYPE.AAAA;
  const packet = encodeMessage({
    id: 1,
    flags: FLAG.RD,
    questions: [{ name, type, class: CLASS.IN }],
    answers: [],
    authorities: [],
    additionals: [],
  });
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
  let found = 'no answer came';
  let answered = false;
  socket.on('message', (reply) => {
    const message = decodeMessage(reply);
    answered = message.answers.length > 0;
    found = `it answers ${name} with rcode ${rcodeOf(message)}`;
  });
  socket.on('error', (error) => (found = error.message));
  try {
    await until(signal, `DNS of lab "${lab.name}"`, undefined, () => {
      if (!answered) socket.send(packet, 53, address);
      return answered || new Error(found);
    });
  } finally {
    socket.close();
  }
}

async function until(
  signal: AbortSignal,
  what: string,
  paths: LabPaths | undefined,
  ask: () => Promise<boolean> | boolean | Error,
): Promise<void> {
  let last: unknown;
  while (!signal.aborted && !hasGivenUp(paths)) {
    try {
      const answer = await ask();
      if (answer === true) return;
      if (answer !== false) last = answer;
    } catch (error) {
      last = error;
    }
    await sleep(pauseMs);
  }
  if (signal.reason instanceof WorldError) throw signal.reason;
  if (paths !== undefined) throwLastWords(paths);
  const log = paths === undefined ? '' : `; its log ends with: ${tailOf(logFile(paths, 'server'))}`;
  throw new WorldError(
    'NOT_READY',
    `Cannot reach the ${what}: ${last === undefined ? 'it is not ready' : messageOf(last)}${log}`,
    { cause: last },
  );
}

/** The supervisor of the server ends when starting again would not help. */
function hasGivenUp(paths: LabPaths | undefined): boolean {
  if (paths === undefined || performance.now() < supervisorStartsWithinMs) return false;
  const { supervisor, main } = findComponent(paths, 'server');
  return supervisor === undefined && main === undefined;
}

/** Says in our own words what a server that ended for good has logged last. */
function throwLastWords(paths: LabPaths): void {
  const line = tailOf(logFile(paths, 'server')).split('\n').at(-1)!.trim();
  if (!line.startsWith('{"level":"fatal"')) return;
  const { code, error, hint } = JSON.parse(line) as { code?: string; error: string; hint?: string };
  if (code === undefined) return;
  throw new UserError(code, error, hint === undefined ? {} : { hint });
}

function tailOf(file: string): string {
  try {
    return readFileSync(file, 'utf8').trimEnd().split('\n').slice(-5).join('\n  ');
  } catch (error) {
    return messageOf(error);
  }
}

let agent: Agent | undefined;

/** One answer of the API, asked as the administrator. */
export function get(lab: LabConfig, paths: LabPaths, path: string): Promise<string> {
  const files = keyFiles(paths);
  agent ??= new Agent({
    keepAlive: true,
    ca: readFileSync(files.ca),
    cert: readFileSync(files.admin.cert),
    key: readFileSync(files.admin.key),
  });
  return new Promise((resolve, reject) => {
    const sent = request(
      { host: '127.0.0.1', port: lab.apiPort, path, agent, timeout: 2000 },
      (response) => {
        let body = '';
        response.setEncoding('utf8');
        response.on('data', (chunk: string) => (body += chunk));
        response.on('end', () =>
          response.statusCode === 200
            ? resolve(body)
            : reject(new Error(`${path} answered ${response.statusCode}: ${body.slice(0, 200)}`)),
        );
        response.on('error', reject);
      },
    );
    sent.on('timeout', () => sent.destroy(new Error(`${path} did not answer`)));
    sent.on('error', reject);
    sent.end();
  });
}
