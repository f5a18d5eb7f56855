/**
 * `npm run spec`: per contract of docs/spec/, how many numbered items a test proves, and which are open.
 * A test proves an item by carrying its id in its name, as in `[P61]`, or in its table of cases (`*.cases.ts`). An id that no contract has fails the run.
 */
import { globSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';

/** Item ids a contract defines: `- **P12** …`, table rows `| **P57** |`, and the like. */
export function idsDefined(markdown: string): string[] {
  const ids = [...markdown.matchAll(/^(?:-|\|)\s*\*\*([A-Z]+\d+[a-z]?)\*\*/gm)].map(
    (match) => match[1]!,
  );
  return [...new Set(ids)];
}

/** Why an item is open, where its contract says so behind `Open: `. */
export function reasonsOpen(markdown: string): Map<string, string> {
  const reasons = markdown.matchAll(/^- \*\*([A-Z]+\d+[a-z]?)\*\*.* Open: (.+)$/gm);
  return new Map([...reasons].map((match) => [match[1]!, match[2]!]));
}

/** Ids that test names claim, with the files that claim them. */
export function idsClaimed(
  sources: readonly { file: string; source: string }[],
): Map<string, string[]> {
  const claimed = new Map<string, string[]>();
  for (const { file, source } of sources) {
    for (const match of source.matchAll(/\[([A-Z]\d+[a-z]?(?:[ ,]+[A-Z]\d+[a-z]?)*)\]/g)) {
      for (const id of match[1]!.split(/[ ,]+/))
        claimed.set(id, [...(claimed.get(id) ?? []), file]);
    }
  }
  return claimed;
}

if (import.meta.main) {
  const contracts = globSync('docs/spec/*.md')
    .toSorted()
    .map((file) => {
      const markdown = readFileSync(file, 'utf8');
      return {
        name: basename(file, '.md'),
        ids: idsDefined(markdown),
        reasons: reasonsOpen(markdown),
      };
    });
  const tests = globSync([
    'src/**/*.{test,cases}.ts',
    'test/**/*.{test,cases}.ts',
    'tools/*.test.ts',
  ]).filter((file) => !file.startsWith('tools/spec'));
  const claimed = idsClaimed(tests.map((file) => ({ file, source: readFileSync(file, 'utf8') })));
  const known = new Set(contracts.flatMap((contract) => contract.ids));
  for (const { name, ids, reasons } of contracts) {
    const open = ids.filter((id) => !claimed.has(id));
    console.log(`${name}: ${ids.length - open.length}/${ids.length} proven`);
    const unexplained = open.filter((id) => !reasons.has(id));
    if (unexplained.length > 0) console.log(`  open: ${unexplained.join(' ')}`);
    for (const id of open) if (reasons.has(id)) console.log(`  open: ${id}: ${reasons.get(id)}`);
  }
  const unknown = [...claimed].filter(([id]) => !known.has(id));
  for (const [id, files] of unknown)
    console.error(`no contract has an item ${id}, named in ${files.join(', ')}`);
  console.log(`${contracts.length} contracts and ${tests.length} test files read`);
  if (unknown.length > 0 || contracts.length === 0 || tests.length === 0) process.exit(1);
}
