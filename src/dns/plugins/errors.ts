/** `errors`: a line for each question that failed, in the form people grep for (D100). */
import type { Clock } from '../../lib/clock.ts';
import type { Consolidation, ErrorsSettings } from '../config/types.ts';
import { whenDone, type Answer, type Ask, type Stage } from '../stage.ts';
import { rcodeOf } from '../wire/message.ts';
import { foldCase, formatName } from '../wire/name.ts';
import { formatType } from '../wire/text.ts';

type Print = (line: string) => void;

export function errorsStage(
  settings: ErrorsSettings,
  { clock, print }: { readonly clock: Clock; readonly print: Print },
): Stage {
  const patterns = settings.consolidate.map((pattern) => new Pattern(pattern, clock, print));
  const note = (ask: Ask, answer: Answer): Answer => {
    const { error } = answer;
    if (error === undefined) return answer;
    const { name, type } = ask.query.question;
    const about = `${rcodeOf(answer)} ${formatName(foldCase(name))} ${formatType(type)}`;
    const pattern = patterns.find((candidate) => candidate.matches(error));
    if (pattern === undefined) print(`[ERROR] plugin/errors: ${about}: ${error}`);
    else pattern.note(`${about}: ${error}`);
    return answer;
  };
  return {
    name: 'errors',
    answer: (ask, next) => whenDone(next(ask), (answer) => note(ask, answer)),
    stop: () => patterns.forEach((pattern) => pattern.stop()),
  };
}

/** Errors of one kind, told together at the end of a period. */
class Pattern {
  readonly #settings: Consolidation;
  readonly #clock: Clock;
  readonly #print: Print;
  #count = 0;
  #cancel: (() => void) | undefined;

  constructor(settings: Consolidation, clock: Clock, print: Print) {
    this.#settings = settings;
    this.#clock = clock;
    this.#print = print;
  }

  matches(error: string): boolean {
    return this.#settings.pattern.test(error);
  }

  note(text: string): void {
    this.#count += 1;
    if (this.#count > 1) return;
    if (this.#settings.showFirst) this.#say(text);
    this.#cancel = this.#clock.after(this.#settings.periodMs, () => this.#tell());
  }

  stop(): void {
    this.#cancel?.();
    this.#tell();
  }

  #tell(): void {
    const { pattern, periodText, showFirst } = this.#settings;
    const count = this.#count;
    this.#count = 0;
    if (count === 0 || (count === 1 && showFirst)) return;
    this.#say(`${count} errors like '${pattern.source}' occurred in last ${periodText}`);
  }

  #say(text: string): void {
    this.#print(`[${this.#settings.level.toUpperCase()}] plugin/errors: ${text}`);
  }
}
