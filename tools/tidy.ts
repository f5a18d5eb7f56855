/**
 * The rules of the house that no other tool checks. Run by `npm run check`; prints how many files it read.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

type Ban = {
  readonly pattern: RegExp;
  readonly because: string;
  readonly where?: RegExp;
  readonly except?: RegExp;
};

const bans: Ban[] = [
  {
    pattern: /\bcatch\s*(\([^)]*\))?\s*\{\s*\}/,
    because: 'an error is handled or passed on, never swallowed',
    where: /\.ts$/,
    except: /^tools\/tidy/,
  },
  {
    pattern: /\b(TODO|FIXME|XXX|HACK)\b(?! #\d)/,
    because: 'a leftover needs an issue number',
    except: /^tools\/tidy/,
  },
  {
    pattern: /\btest\.(only|todo)\b|\bdescribe\.only\b/,
    because: 'every test runs',
    where: /\.test\.ts$/,
    except: /^tools\/tidy/,
  },
  {
    pattern:
      /['"`](?:\/usr\/s?bin\/|\/s?bin\/)?(?:nft|ip|iptables|iptables-save|dig|conntrack|ipvsadm)['"`],\s*\[/,
    because: 'the product speaks to the kernel itself and never runs a network tool',
    where: /^src\/.*\.ts$/,
    except: /\.test\.ts$/,
  },
  {
    pattern: /\benum\s+\w+\s*\{|\bnamespace\s+\w+\s*\{/,
    because: 'only erasable TypeScript runs',
    where: /\.ts$/,
  },
];

/** One line per broken rule. */
export function problemsIn(file: string, source: string): string[] {
  const found: string[] = [];
  const applicable = bans.filter(
    (ban) => (ban.where?.test(file) ?? true) && !(ban.except?.test(file) ?? false),
  );
  source.split('\n').forEach((line, index) => {
    for (const ban of applicable) {
      if (ban.pattern.test(line))
        found.push(`${file}:${index + 1}: ${ban.because}: ${line.trim()}`);
    }
  });
  if (/^src\/.*\.ts$/.test(file) && !/(^|\/)[a-z0-9.-]+\.ts$/.test(file))
    found.push(`${file}: files are kebab-case`);
  return found;
}

if (import.meta.main) {
  const files = execFileSync('git', ['ls-files', '*.ts', '*.sh'], { encoding: 'utf8' })
    .split('\n')
    .filter(Boolean);
  const found = files.flatMap((file) => problemsIn(file, readFileSync(file, 'utf8')));
  for (const line of found) console.error(line);
  console.log(`tidy: ${files.length} files read, ${found.length} problems`);
  if (found.length > 0 || files.length === 0) process.exit(1);
}
