/** What is done once and needs more rights than the rest: kernel settings and the OOM score. */
import { writeFileSync } from 'node:fs';
import { messageOf } from '../../lib/errors.ts';
import type { Logger } from '../../lib/log.ts';
import { applyConntrackSettings } from './conntrack-settings.ts';
import type { ProxyConfig } from './fields.ts';

/** Nothing of it can fail the start: what was refused is told. */
export function setUpMachine(config: ProxyConfig, log: Logger): void {
  for (const { path, before, value, failed } of applyConntrackSettings(config)) {
    if (failed === undefined) log.info({ path, before, value }, 'kernel setting changed');
    else log.warn({ path, before, value, error: failed }, 'cannot change a kernel setting');
  }
  try {
    writeFileSync('/proc/self/oom_score_adj', String(config.oomScoreAdj));
  } catch (error) {
    const facts = { score: config.oomScoreAdj, error: messageOf(error) };
    log.warn(facts, 'cannot change the OOM score of this process');
  }
}
