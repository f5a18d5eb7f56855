/** Shell completion, made from the commands themselves so that it cannot fall behind them. */
import type { Command } from 'commander';
import { UserError } from '../lib/errors.ts';

/** A script for the shell to source. */
export function completion(shell: string, program: Command): string {
  const words = wordsOf(program);
  if (shell === 'bash') return bash(words);
  if (shell === 'zsh') return `autoload -U +X bashcompinit && bashcompinit\n${bash(words)}`;
  if (shell === 'fish') return fish(words);
  throw new UserError(
    'BAD_FLAG',
    `Cannot complete for shell "${shell}": bash, zsh and fish are known`,
  );
}

/** What may follow each chain of commands: subcommands, or flags of the last one. */
function wordsOf(command: Command, path: readonly string[] = []): Map<string, string[]> {
  const words = new Map<string, string[]>();
  const flags = command.options.flatMap((option) =>
    option.long === undefined ? [] : [option.long],
  );
  words.set(path.join(' '), [...command.commands.map((child) => child.name()), ...flags, '--help']);
  for (const child of command.commands) {
    for (const [key, value] of wordsOf(child, [...path, child.name()])) words.set(key, value);
  }
  return words;
}

function bash(words: Map<string, string[]>): string {
  const cases = [...words].map(
    ([path, next]) => `    '${path}') COMPREPLY=($(compgen -W '${next.join(' ')}' -- "$word")) ;;`,
  );
  return `_fairlead() {
  local word=\${COMP_WORDS[COMP_CWORD]} path='' w
  for w in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do case $w in -*) ;; *) path="\${path:+$path }$w" ;; esac; done
  case $path in
${cases.join('\n')}
    logs*) COMPREPLY=($(compgen -W 'server node-1 node-2 node-3' -- "$word")) ;;
    *) COMPREPLY=() ;;
  esac
}
complete -F _fairlead fairlead`;
}

function fish(words: Map<string, string[]>): string {
  const lines = ['complete -c fairlead -f'];
  for (const [path, next] of words) {
    const condition =
      path === ''
        ? '__fish_use_subcommand'
        : `__fish_seen_subcommand_from ${path.split(' ').at(-1)}`;
    for (const word of next) {
      lines.push(
        word.startsWith('--')
          ? `complete -c fairlead -n '${condition}' -l ${word.slice(2)}`
          : `complete -c fairlead -n '${condition}' -a ${word}`,
      );
    }
  }
  return lines.join('\n');
}
