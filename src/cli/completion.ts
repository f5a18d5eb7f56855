/** Shell completion: short scripts that ask this program, which knows its commands and the labs. */
import type { Command, Option } from 'commander';
import { labPaths } from '../lab/paths.ts';
import { listLabs, readLab } from '../lab/state.ts';

/** A script for the shell to source. */
export function completionScript(shell: 'bash' | 'zsh' | 'fish'): string {
  return { bash, zsh, fish }[shell];
}

const bash = `_fairlead() {
  local IFS=$'\\n'
  COMPREPLY=($("\${COMP_WORDS[0]}" complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -F _fairlead fairlead`;

const zsh = `#compdef fairlead
_fairlead() {
  local -a found
  found=("\${(@f)$("\${words[1]}" complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  compadd -a found
}
compdef _fairlead fairlead`;

const fish = `function __fairlead
  set -l words (commandline -opc) (commandline -ct)
  $words[1] complete -- $words[2..-1] 2>/dev/null
end
complete -c fairlead -f -a '(__fairlead)'`;

/** What may stand in place of the last of the words after `fairlead`. */
export function candidates(program: Command, words: readonly string[]): string[] {
  const last = words.at(-1) ?? '';
  const place = walk(program, words.slice(0, -1));
  return possible(place, last).filter((word) => word.startsWith(last));
}

type Place = {
  readonly command: Command;
  /** The option whose value comes next. */
  readonly open: Option | undefined;
  readonly argumentsSeen: number;
  readonly lab: string;
};

function walk(program: Command, words: readonly string[]): Place {
  let place: Place = { command: program, open: undefined, argumentsSeen: 0, lab: 'lab' };
  for (const word of words) place = step(place, word);
  return place;
}

function step(place: Place, word: string): Place {
  const { command, open, argumentsSeen } = place;
  if (open !== undefined)
    return { ...place, open: undefined, ...(open.long === '--name' ? { lab: word } : {}) };
  if (word.startsWith('-')) {
    const option = command.options.find(({ long, short }) => long === word || short === word);
    return { ...place, open: option?.required === true ? option : undefined };
  }
  const child = command.commands.find((entry) => entry.name() === word);
  if (child !== undefined) return { ...place, command: child, argumentsSeen: 0 };
  return { ...place, argumentsSeen: argumentsSeen + 1 };
}

function possible({ command, open, argumentsSeen, lab }: Place, last: string): string[] {
  if (open !== undefined)
    return open.argChoices ?? (open.long === '--name' && command.name() !== 'up' ? listLabs() : []);
  const flags = [...command.options.flatMap(({ long }) => long ?? []), '--help'];
  if (last.startsWith('-')) return flags;
  const argument = command.registeredArguments[argumentsSeen];
  if (argument !== undefined) return argument.argChoices ?? partsOf(lab, argument.name());
  return command.commands.length > 0 ? command.commands.map((child) => child.name()) : flags;
}

function partsOf(lab: string, kind: string): string[] {
  if (!listLabs().includes(lab)) return [];
  const nodes = readLab(labPaths(lab)).nodes.map((node) => node.name);
  return kind === 'component' ? ['server', ...nodes] : nodes;
}
