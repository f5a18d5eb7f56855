/** The connection table of one network namespace. */
import { ERRNO } from '../ffi/libc.ts';
import { NETLINK_NETFILTER } from '../netlink/constants.ts';
import { NetlinkError } from '../netlink/netlink-error.ts';
import { NetlinkSocket } from '../netlink/socket.ts';
import { decodeFlow, deleteFlow, listFlows, type Flow } from './flow.ts';

/** A connection to conntrack in the namespace the calling thread is in now. */
export class ConntrackConnection {
  readonly #socket = new NetlinkSocket(NETLINK_NETFILTER);

  /** Every flow of the family for which `wanted` is true; a table may have hundred thousands. */
  flows(family: 'ipv4' | 'ipv6', wanted: (flow: Flow) => boolean = () => true): Flow[] {
    const flows: Flow[] = [];
    this.#socket.scan(listFlows(family), 'list tracked connections', ({ body }) => {
      const flow = decodeFlow(body);
      if (wanted(flow)) flows.push(flow);
    });
    return flows;
  }

  /** Forgets one flow; false when it had ended already. */
  delete(flow: Pick<Flow, 'original' | 'id' | 'zone'>): boolean {
    try {
      this.#socket.request(deleteFlow(flow), 'delete a tracked connection');
      return true;
    } catch (error) {
      if (error instanceof NetlinkError && error.errno === ERRNO.ENOENT) return false;
      throw error;
    }
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }
}
