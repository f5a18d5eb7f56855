/** What an echo container says about itself and its client. Pure. */
import { formatHostPort } from '../../lib/ip.ts';
import { type EchoContainer } from './echo-protocol.ts';

export type Client = { readonly address: string; readonly port: number };

/** A v4 client of a dual-stack socket shows as `::ffff:10.0.0.1`. */
export function clientOf(address: string | undefined, port: number | undefined): Client {
  return { address: (address ?? '').replace(/^::ffff:(?=\d+\.)/, ''), port: port ?? 0 };
}

/** The line every protocol answers with. */
export function describe(container: EchoContainer, client: Client, protocol: string): string {
  const { pod, namespace, node, podIPs } = container.identity;
  const from = formatHostPort(client.address, client.port);
  const ip = podIPs.join(',');
  return `pod=${pod} ns=${namespace} node=${node} ip=${ip} client=${from} protocol=${protocol}`;
}

/** The same for programs. */
export function describeJson(container: EchoContainer, client: Client, protocol: string) {
  const { pod, namespace, node, podIPs } = container.identity;
  return { pod, namespace, node, podIP: podIPs[0] ?? '', podIPs, client, protocol };
}

/** The answer to a datagram: the commands of agnhost `netexec`, or the line about ourselves. */
export function answerDatagram(container: EchoContainer, client: Client, text: string): string {
  const command = text.trim();
  if (command === 'hostname') return container.identity.pod;
  if (command === 'clientip') return formatHostPort(client.address, client.port);
  if (command.startsWith('echo ')) return command.slice('echo '.length);
  return `${describe(container, client, 'udp')}\n`;
}

/** Whether the first bytes of a connection can be the start of an HTTP request. */
export function looksLikeHttp(bytes: Uint8Array): boolean {
  const start = Buffer.from(bytes.subarray(0, 8)).toString('latin1');
  return methods.some((method) => method.startsWith(start) || start.startsWith(method));
}

const methods = ['GET ', 'HEAD ', 'POST ', 'PUT ', 'PATCH ', 'DELETE ', 'OPTIONS ', 'CONNECT '];
