/**
 * Which nodes live, and which of them want the connections of a Service. Two kinds of question: a
 * node's own port tells whether the machine answers at all, a Service's port whether it is to be used
 * for that Service. A dead machine is known within 1.2 s: an interval and two unanswered questions.
 */
import { systemClock, type Clock } from '../../lib/clock.ts';
import type { Answer, Check } from './probe.ts';

/** Between two rounds of questions. */
const intervalMs = 500;
/** A node on the same network answers within a millisecond; this leaves room for a busy machine. */
const timeoutMs = 350;
/** Questions in a row without an answer after which a node counts as dead. */
const strikesMax = 2;
/**
 * Nobody listens at the discard port (RFC 863), so a machine's kernel refuses at once and no process
 * wakes up: of an agent it would cost 0.3 % of a core. Where a firewall is silent there, the agent's own
 * port has the last word.
 */
const discard: Check = { kind: 'tcp', port: 9 };
/** Node ports that said yes are asked in one round of so many: the node's own port tells of its death. */
const tcpEveryRounds = 10;
/** Services asked about on one node in one round; more take turns. */
const checksPerRound = 16;

export type Watched = { readonly node: string; readonly address: string; readonly check: Check };

export type HealthOptions = {
  /** Asks a machine once, and does not wait longer than that for its answer. */
  readonly ask: (address: string, check: Check, timeoutMs: number) => Promise<Answer>;
  /** A node died or came back, or the answer of one of its ports changed. */
  readonly onChange: (node: string, change: 'died' | 'lives' | 'check') => void;
  readonly clock?: Clock;
  /** Called once each round. */
  readonly onRound?: () => void;
};

type NodeState = {
  address: string;
  check: Check;
  strikes: number;
  dead: boolean;
  asking: boolean;
  round: number;
  readonly checks: Map<string, { check: Check; answer: boolean | undefined; strikes: number }>;
};

export class Health {
  readonly #options: HealthOptions;
  readonly #clock: Clock;
  readonly #nodes = new Map<string, NodeState>();
  #cancel: (() => void) | undefined;
  #stopped = false;

  constructor(options: HealthOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  /** Replaces the nodes and what is asked of each; what is asked already keeps its answer. */
  watch(nodes: readonly (Watched & { readonly services: readonly Check[] })[]): void {
    const names = new Set(nodes.map(({ node }) => node));
    for (const name of this.#nodes.keys()) if (!names.has(name)) this.#nodes.delete(name);
    for (const { node, address, check, services } of nodes) {
      const state = this.#nodes.get(node) ?? newState(address, check);
      Object.assign(state, { address, check });
      const ids = new Set(services.map(checkId));
      for (const id of state.checks.keys()) if (!ids.has(id)) state.checks.delete(id);
      const fresh = services.filter((one) => !state.checks.has(checkId(one)));
      for (const one of fresh) {
        state.checks.set(checkId(one), { check: one, answer: undefined, strikes: 0 });
      }
      this.#nodes.set(node, state);
      for (const one of fresh) void this.#askService(node, state, checkId(one));
    }
    if (this.#nodes.size > 0) this.#schedule();
    else this.#rest();
  }

  /** Whether the machine answers; true for one not asked yet. */
  isAlive(node: string): boolean {
    return this.#nodes.get(node)?.dead !== true;
  }

  /** What the node says to the check; undefined when it has not said anything yet. */
  answerOf(node: string, check: Check): boolean | undefined {
    return this.#nodes.get(node)?.checks.get(checkId(check))?.answer;
  }

  stop(): void {
    this.#stopped = true;
    this.#rest();
  }

  #rest(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }

  #schedule(): void {
    if (this.#stopped || this.#cancel !== undefined) return;
    this.#cancel = this.#clock.after(intervalMs, () => {
      this.#cancel = undefined;
      for (const [node, state] of this.#nodes) this.#round(node, state);
      this.#options.onRound?.();
      this.#schedule();
    });
  }

  #round(node: string, state: NodeState): void {
    state.round += 1;
    if (!state.asking) void this.#askNode(node, state);
    if (state.dead) return;
    const slowly = state.round % tcpEveryRounds === 0;
    const due = [...state.checks.values()].filter(
      ({ check, answer }) => check.kind === 'http' || answer !== true || slowly,
    );
    const first = due.length > checksPerRound ? (state.round * checksPerRound) % due.length : 0;
    const turn = [...due.slice(first), ...due.slice(0, first)].slice(0, checksPerRound);
    for (const { check } of turn) void this.#askService(node, state, checkId(check));
  }

  /** Asks again at once when no answer comes, until that is enough. */
  async #askNode(node: string, state: NodeState): Promise<void> {
    state.asking = true;
    let answer: Answer;
    do {
      answer = await this.#ask(state, state.strikes === 0 ? discard : state.check);
      if (answer === 'silent') state.strikes += 1;
      else state.strikes = 0;
    } while (answer === 'silent' && state.strikes < strikesMax && !this.#stopped);
    state.asking = false;
    const dead = state.strikes >= strikesMax;
    if (dead === state.dead || this.#nodes.get(node) !== state || this.#stopped) return;
    state.dead = dead;
    this.#options.onChange(node, dead ? 'died' : 'lives');
  }

  /** Silence counts only when it lasts: the answer may have been due from a pod that is no more. */
  async #askService(node: string, state: NodeState, id: string): Promise<void> {
    const one = state.checks.get(id);
    if (one === undefined) return;
    const answer = await this.#ask(state, one.check);
    one.strikes = answer === 'silent' ? one.strikes + 1 : 0;
    if (answer === 'silent' && (one.check.kind === 'tcp' || one.strikes < strikesMax)) return;
    const said = answer === 'yes';
    if (one.answer === said || this.#stopped) return;
    one.answer = said;
    if (state.checks.get(id) === one) this.#options.onChange(node, 'check');
  }

  #ask({ address }: NodeState, check: Check): Promise<Answer> {
    return this.#options.ask(address, check, timeoutMs);
  }
}

function newState(address: string, check: Check): NodeState {
  return { address, check, strikes: 0, dead: false, asking: false, round: 0, checks: new Map() };
}

function checkId({ kind, port }: Check): string {
  return `${kind} ${port}`;
}
