/** The variables that tell a container where Services are (K9). */
import type { Service } from '../../api/types.ts';
import { formatHostPort } from '../../lib/ip.ts';

/**
 * Variables for every Service given that has a cluster IP: the `_SERVICE_` set and the set Docker's
 * links once made. Headless and ExternalName Services give none.
 */
export function serviceEnv(services: readonly Service[]): Record<string, string> {
  const env: Record<string, string> = {};
  for (const service of services) Object.assign(env, envOf(service));
  return env;
}

/**
 * The Services a container of the namespace is told of. `default/kubernetes` always counts; one of
 * the same name in the pod's own namespace wins over it, as in a kubelet.
 */
export function servicesFor(options: {
  readonly namespace: string;
  readonly enableServiceLinks: boolean;
  readonly services: readonly Service[];
}): Service[] {
  const isMaster = (s: Service) =>
    s.metadata.namespace === 'default' && s.metadata.name === 'kubernetes';
  const master = options.services.filter(isMaster);
  const own = options.services.filter((s) => s.metadata.namespace === options.namespace);
  const linked = options.enableServiceLinks ? own.filter((s) => !isMaster(s)) : [];
  return [...master, ...linked];
}

function envOf(service: Service): Record<string, string> {
  const { clusterIP, ports = [], type } = service.spec;
  if (type === 'ExternalName' || !clusterIP || clusterIP === 'None') return {};
  const name = variableName(service.metadata.name);
  const env: Record<string, string> = { [`${name}_SERVICE_HOST`]: clusterIP };
  ports.forEach(({ port, name: portName, protocol = 'TCP' }, index) => {
    const url = `${protocol.toLowerCase()}://${formatHostPort(clusterIP, port)}`;
    const link = `${name}_PORT_${port}_${protocol}`;
    if (index === 0) {
      env[`${name}_SERVICE_PORT`] = String(port);
      env[`${name}_PORT`] = url;
    }
    if (portName) env[`${name}_SERVICE_PORT_${variableName(portName)}`] = String(port);
    env[link] = url;
    env[`${link}_PROTO`] = protocol.toLowerCase();
    env[`${link}_PORT`] = String(port);
    env[`${link}_ADDR`] = clusterIP;
  });
  return env;
}

function variableName(text: string): string {
  return text.toUpperCase().replaceAll(/[-.]/g, '_');
}
