/** Whether this machine can run nftables mode at all (P141): found at the start, not in every sync. */
import { ERRNO } from '../../kernel/ffi/libc.ts';
import { NetlinkError } from '../../kernel/netlink/netlink-error.ts';
import { addTable, deleteTable, NftConnection } from '../../kernel/nftables/index.ts';
import { messageOf, WorldError } from '../../lib/errors.ts';
import type { IpFamily } from '../../lib/ip.ts';
import type { Logger } from '../../lib/log.ts';
import { tableOf } from '../nftables/layout.ts';
import { missingFeatures, notSupported } from '../nftables/requirements.ts';

/** A table that exists within a transaction only. */
const PROBE = 'fairlead-probe';

/** Throws `PROXY_RIGHTS` when this process may not change rules. */
export function checkRights(): void {
  using connection = new NftConnection();
  try {
    connection.tables();
  } catch (error) {
    if (!(error instanceof NetlinkError) || error.errno !== ERRNO.EPERM) throw error;
    const text =
      'Cannot start the proxy: this user may not change nftables rules, which needs root or CAP_NET_ADMIN';
    throw new WorldError('PROXY_RIGHTS', text, { cause: error });
  }
}

/**
 * The families, first the primary one, without a secondary one that the kernel does not do (P137).
 * Throws `NotSupported` with what the primary one misses.
 */
export function familiesOfKernel(families: readonly IpFamily[], log: Logger): readonly IpFamily[] {
  using connection = new NftConnection();
  return families.filter((family, index) => {
    const problem = problemOf(connection, family);
    if (problem === undefined) return true;
    if (index === 0) throw problem;
    log.warn({ family, error: messageOf(problem) }, 'going on without the second family');
    return false;
  });
}

function problemOf(connection: NftConnection, family: IpFamily): Error | undefined {
  const { family: nft, table } = tableOf(family);
  // Where our table is, all of it was taken once: a start that finds it right writes nothing.
  if (connection.tables(nft).some(({ name }) => name === table)) return undefined;
  const name = { family: nft, name: PROBE };
  try {
    connection.apply([addTable(name), deleteTable(name)], { tried: `try nftables for ${nft}` });
  } catch (error) {
    if (error instanceof NetlinkError) return error;
    throw error;
  }
  return notSupported(missingFeatures(connection, family));
}
