/** The agent's side of the echo host: starts it when needed, and again when it dies. */
import { spawn } from 'node:child_process';
import { connect, type Socket } from 'node:net';
import { WorldError } from '../../lib/errors.ts';
import {
  lineReader,
  type EchoContainer,
  type EchoReply,
  type EchoRequest,
} from '../images/echo-protocol.ts';

/** `Omit` of a union, member by member. */
type Unnumbered = EchoRequest extends infer R
  ? R extends EchoRequest
    ? Omit<R, 'sequence'>
    : never
  : never;

const RETRY_MS = 50;
const RETRY_MS_MAX = 5000;
/** A host that says nothing for this long after its start is given up. */
const START_MS_MAX = 10_000;

export type EchoClientOptions = {
  readonly socketPath: string;
  /** The program and arguments that run `fairlead echo-host <socket>`. */
  readonly command: readonly string[];
};

/** The echo host ended before it answered. */
class HostLost extends WorldError {
  constructor() {
    super('ECHO', 'Cannot serve an echo container: the echo host has ended');
  }
}

/** Keeps the echo host serving for exactly the containers it was told of. */
export class EchoClient {
  readonly #options: EchoClientOptions;
  readonly #wanted = new Map<string, EchoContainer>();
  readonly #waiting = new Map<number, (reply: EchoReply | HostLost) => void>();
  #socket: Promise<Socket> | undefined;
  #sequence = 0;
  #retry: NodeJS.Timeout | undefined;
  #retryMs = RETRY_MS;
  #closed = false;

  constructor(options: EchoClientOptions) {
    this.#options = options;
  }

  /** Resolves when the container's ports are open. Throws when one cannot be opened. */
  async add(container: EchoContainer): Promise<void> {
    this.#wanted.set(container.id, container);
    try {
      await this.#request({ verb: 'add', container }).catch((error: unknown) => {
        // A host that dies meanwhile is started again, once.
        if (!(error instanceof HostLost)) throw error;
        return this.#request({ verb: 'add', container });
      });
    } catch (error) {
      this.#wanted.delete(container.id);
      throw error;
    }
  }

  async drain(id: string): Promise<void> {
    if (this.#wanted.has(id)) await this.#request({ verb: 'drain', id });
  }

  async remove(id: string): Promise<void> {
    if (!this.#wanted.delete(id)) return;
    // A host that is not there serves nobody, and a new one need not be told.
    if (this.#socket === undefined && !(await this.#isRunning())) return;
    await this.#request({ verb: 'remove', id }).catch((error: unknown) => {
      if (!(error instanceof HostLost)) throw error;
    });
  }

  /**
   * After a restart of the agent: makes the host serve these and no others. A host that cannot be
   * had is tried again later, so that one container's server does not keep the node from starting.
   */
  async adopt(containers: readonly EchoContainer[]): Promise<void> {
    for (const container of containers) this.#wanted.set(container.id, container);
    if (containers.length === 0 && !(await this.#isRunning())) return;
    await this.#connection().catch(() => undefined);
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    clearTimeout(this.#retry);
    this.#socket?.then(
      (socket) => socket.destroy(),
      () => undefined,
    );
  }

  async #request(request: Unnumbered): Promise<EchoReply> {
    return this.#send(await this.#connection(), request);
  }

  #send(socket: Socket, request: Unnumbered): Promise<EchoReply> {
    this.#sequence += 1;
    const sequence = this.#sequence;
    if (socket.destroyed) return Promise.reject(new HostLost());
    // An idle connection keeps nobody alive; one that waits for an answer does.
    socket.ref();
    return new Promise((resolve, reject) => {
      this.#waiting.set(sequence, (reply) => {
        this.#waiting.delete(sequence);
        if (this.#waiting.size === 0) socket.unref();
        if (reply instanceof HostLost) reject(reply);
        else if (reply.error === undefined) resolve(reply);
        else reject(new WorldError('ECHO', `Cannot serve an echo container: ${reply.error}`));
      });
      socket.write(`${JSON.stringify({ ...request, sequence })}\n`);
    });
  }

  /** One connection for all; whoever comes meanwhile waits for the same. */
  #connection(): Promise<Socket> {
    if (this.#socket !== undefined) return this.#socket;
    const opening = this.#open();
    const over = () => {
      if (this.#socket === opening) this.#socket = undefined;
      this.#retryLater();
    };
    this.#socket = opening;
    opening.then((socket) => socket.once('close', over), over);
    return opening;
  }

  async #open(): Promise<Socket> {
    const { socketPath } = this.#options;
    const socket = await dial(socketPath).catch(async () => {
      if (this.#closed) throw new HostLost();
      await startHost([...this.#options.command, socketPath]);
      return dial(socketPath);
    });
    socket.unref();
    lineReader(socket, (line) => {
      const reply = JSON.parse(line) as EchoReply;
      this.#waiting.get(reply.sequence)?.(reply);
    });
    socket.on('error', () => socket.destroy());
    socket.once('close', () => {
      for (const take of this.#waiting.values()) take(new HostLost());
    });
    try {
      await this.#agree(socket);
      if (socket.destroyed || this.#closed) throw new HostLost();
    } catch (error) {
      socket.destroy();
      throw error;
    }
    this.#retryMs = RETRY_MS;
    return socket;
  }

  /** Brings a host that served for an earlier agent, or that has just started, up to date. */
  async #agree(socket: Socket): Promise<void> {
    const { ids = [] } = await this.#send(socket, { verb: 'list' });
    for (const id of ids)
      if (!this.#wanted.has(id)) await this.#send(socket, { verb: 'remove', id });
    const missing = [...this.#wanted.values()].filter(({ id }) => !ids.includes(id));
    await Promise.allSettled(
      missing.map((container) => this.#send(socket, { verb: 'add', container })),
    );
  }

  /** Without a host nobody serves: there shall be a new one. */
  #retryLater(): void {
    if (this.#wanted.size === 0 || this.#closed || this.#retry !== undefined) return;
    this.#retry = setTimeout(() => {
      this.#retry = undefined;
      this.#connection().catch(() => undefined);
    }, this.#retryMs).unref();
    this.#retryMs = Math.min(RETRY_MS_MAX, this.#retryMs * 2);
  }

  async #isRunning(): Promise<boolean> {
    try {
      (await dial(this.#options.socketPath)).destroy();
      return true;
    } catch {
      return false;
    }
  }
}

function dial(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject);
      resolve(socket);
    });
  });
}

/** Starts the host as a process of its own; resolves when it can be talked to. */
function startHost(command: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const [program = '', ...args] = command;
    const child = spawn(program, args, { detached: true, stdio: ['ignore', 'pipe', 'ignore'] });
    const fail = (found: string) => {
      clearTimeout(timer);
      reject(new WorldError('ECHO', `Cannot start the echo host: ${found}`));
    };
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      fail(`it says nothing within ${START_MS_MAX / 1000} s`);
    }, START_MS_MAX);
    child.once('error', (error) => fail(error.message));
    child.once('exit', (code, signal) => fail(`it ended with ${signal ?? `code ${code}`}`));
    child.stdout.once('data', () => {
      clearTimeout(timer);
      child.removeAllListeners('exit');
      child.stdout.destroy();
      child.unref();
      resolve();
    });
  });
}
