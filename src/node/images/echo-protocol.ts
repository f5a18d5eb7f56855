/** What the agent and the echo host say to each other: JSON lines over a unix socket. */

/** Who a container is, for its answers. */
export type EchoIdentity = {
  readonly pod: string;
  readonly namespace: string;
  readonly node: string;
  readonly podIPs: readonly string[];
};

export type EchoContainer = {
  /** Container id of the runtime. */
  readonly id: string;
  readonly identity: EchoIdentity;
  readonly env: Readonly<Record<string, string>>;
  readonly ports: readonly { readonly port: number; readonly protocol: 'TCP' | 'UDP' }[];
  /** The pinned network namespace of the pod; absent for one on its node's network. */
  readonly netns?: string;
  /** The container's output, where the requests it answered are noted. */
  readonly log: string;
};

export type EchoRequest = { readonly sequence: number } & (
  | { readonly verb: 'add'; readonly container: EchoContainer }
  /** Still serves, but asks clients to go elsewhere. */
  | { readonly verb: 'drain' | 'remove'; readonly id: string }
  | { readonly verb: 'list' }
);

export type EchoReply = {
  readonly sequence: number;
  readonly error?: string;
  readonly ids?: readonly string[];
};

/** Cuts a stream into lines; a line longer than `bytesMax` ends the connection. */
export function lineReader(
  socket: NodeJS.ReadableStream & { destroy(): unknown },
  take: (line: string) => void,
  bytesMax = 4 * 1024 * 1024,
): void {
  let rest = '';
  socket.setEncoding('utf8');
  socket.on('data', (chunk: string) => {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop()!;
    for (const line of lines) take(line);
    if (rest.length > bytesMax) socket.destroy();
  });
}
