/** What the parts of a pod's worker ask of the worker. */
import type { Pod } from '../../api/types.ts';
import type { ConfigSource } from '../environment/env.ts';
import type { NodeContext, PodEvent } from './context.ts';

export type PodHost = {
  readonly uid: string;
  readonly context: NodeContext;
  readonly source: ConfigSource;
  /** The newest object. */
  pod(): Pod;
  podIPs(): readonly string[];
  /** Nothing may be started any more. */
  isEnding(): boolean;
  /** Writes down what must survive the agent. */
  save(): void;
  /** Brings the status, as it is now, on its way. */
  publish(): void;
  /** There may be something to do. */
  note(): void;
  noteIn(delayMs: number): void;
  tell(event: PodEvent): void;
  /** For finding out where the time of a start goes. */
  trace(step: string): void;
};
