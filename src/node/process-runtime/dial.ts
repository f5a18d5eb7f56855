/** Connections to a port of a pod from inside its network: `kubectl port-forward`. */
import { BoundSocket, Socket } from 'node:net';
import { within } from '../../kernel/namespace/within.ts';

/** What `localhost` means in a pod, in the order of its hosts file. */
const loopbacks = ['127.0.0.1', '::1'];

/** Connects inside the network namespace; throws what the last address of localhost answered. */
export async function dialInside(netns: string | undefined, port: number): Promise<Socket> {
  let last: unknown;
  for (const host of loopbacks) {
    try {
      return await connected(open(netns, host, port));
    } catch (error) {
      // A pod without IPv6 should not hide why IPv4 did not answer.
      last ??= error;
    }
  }
  throw last;
}

/** A socket belongs for good to the namespace it is made in; bound, it is made at once. */
function open(netns: string | undefined, host: string, port: number): Socket {
  const dial = () => {
    const socket = new Socket({ handle: new BoundSocket({ host }), allowHalfOpen: true });
    return socket.connect({ host, port });
  };
  return netns === undefined ? dial() : within({ net: netns }, dial);
}

function connected(socket: Socket): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  socket.once('error', reject);
  socket.once('connect', () => {
    socket.off('error', reject);
    resolve(socket);
  });
  return promise;
}
