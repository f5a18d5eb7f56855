/** Services: the rules of A131. What depends on the cluster's ranges is the allocator's. */
import { familyOf } from '../../lib/ip.ts';
import type { Service, ServicePort, ServiceSpec } from '../types.ts';
import {
  duplicate,
  forbidden,
  invalidFor,
  invalidValue,
  notSupported,
  required,
  type FieldError,
} from './errors.ts';
import {
  cidr,
  dnsLabel,
  dnsSubdomain,
  ipAddress,
  portName,
  portNumber,
  qualifiedName,
  specialRange,
} from './formats.ts';
import { validateLabels } from './metadata.ts';
import { validateServiceUpdate } from './service-update.ts';
import { validateServiceIps } from './service-ips.ts';

export { validateServiceUpdate };

const types = ['ClusterIP', 'ExternalName', 'LoadBalancer', 'NodePort'];
const protocols = ['SCTP', 'TCP', 'UDP'];
const policies = ['Cluster', 'Local'];

/** Every fault of one Service, whoever sent it. */
export function validateService(service: Service): FieldError[] {
  const { spec } = service;
  return [
    ...validateType(spec),
    ...validatePorts(spec),
    ...validateLabels(spec.selector, 'spec.selector'),
    ...validateAffinity(spec),
    ...validateServiceIps(spec),
    ...validateExternalIps(spec),
    ...validateTrafficPolicies(spec),
    ...validateLoadBalancer(spec),
    ...validateStatus(service),
  ];
}

function validateType(spec: ServiceSpec): FieldError[] {
  const errors: FieldError[] = [];
  if (!types.includes(spec.type ?? '')) {
    errors.push(spec.type ? notSupported('spec.type', spec.type, types) : required('spec.type'));
  }
  if (spec.type !== 'ExternalName') return errors;
  if (!spec.externalName) return [...errors, required('spec.externalName')];
  // A trailing dot, as in a fully qualified name, is fine.
  const name = spec.externalName.replace(/\.$/, '');
  return [...errors, ...invalidFor('spec.externalName', spec.externalName, dnsSubdomain(name))];
}

// ---- ports

function validatePorts(spec: ServiceSpec): FieldError[] {
  const ports = spec.ports ?? [];
  const isHeadless = spec.clusterIP === 'None';
  if (ports.length === 0 && !isHeadless && spec.type !== 'ExternalName') {
    return [required('spec.ports')];
  }
  const names = new Set<string>();
  const errors = ports.flatMap((port, index) => [
    ...validatePort(port, `spec.ports[${index}]`, { isNameRequired: ports.length > 1, names }),
    ...validateNodePort(spec, port, index),
  ]);
  return [...errors, ...duplicatePorts(ports), ...duplicateNodePorts(ports)];
}

function validatePort(
  port: ServicePort,
  field: string,
  { isNameRequired, names }: { isNameRequired: boolean; names: Set<string> },
): FieldError[] {
  const errors: FieldError[] = [];
  if (!port.name) {
    if (isNameRequired) errors.push(required(`${field}.name`));
  } else {
    errors.push(...invalidFor(`${field}.name`, port.name, dnsLabel(port.name)));
    if (names.has(port.name)) errors.push(duplicate(`${field}.name`, port.name));
    names.add(port.name);
  }
  errors.push(...invalidFor(`${field}.port`, port.port ?? 0, portNumber(port.port ?? 0)));
  if (!port.protocol) errors.push(required(`${field}.protocol`));
  else if (!protocols.includes(port.protocol)) {
    errors.push(notSupported(`${field}.protocol`, port.protocol, protocols));
  }
  const target = port.targetPort ?? 0;
  const wrong = typeof target === 'number' ? portNumber(target) : portName(target);
  errors.push(...invalidFor(`${field}.targetPort`, target, wrong));
  if (port.appProtocol) {
    const messages = qualifiedName(port.appProtocol);
    errors.push(...invalidFor(`${field}.appProtocol`, port.appProtocol, messages));
  }
  return errors;
}

function validateNodePort(spec: ServiceSpec, port: ServicePort, index: number): FieldError[] {
  if (!port.nodePort || spec.type === 'NodePort' || spec.type === 'LoadBalancer') return [];
  const detail = `may not be used when \`type\` is '${spec.type}'`;
  return [forbidden(`spec.ports[${index}].nodePort`, detail)];
}

function duplicatePorts(ports: readonly ServicePort[]): FieldError[] {
  const seen = new Set<string>();
  return ports.flatMap(({ port, protocol }, index) => {
    const key = `${protocol}/${port}`;
    const isRepeated = seen.has(key);
    seen.add(key);
    return isRepeated ? [duplicate(`spec.ports[${index}]`, { protocol, port })] : [];
  });
}

function duplicateNodePorts(ports: readonly ServicePort[]): FieldError[] {
  const seen = new Set<string>();
  return ports.flatMap(({ nodePort, protocol }, index) => {
    if (!nodePort) return [];
    const key = `${protocol}/${nodePort}`;
    const isRepeated = seen.has(key);
    seen.add(key);
    return isRepeated ? [duplicate(`spec.ports[${index}].nodePort`, nodePort)] : [];
  });
}

// ---- the rest

function validateAffinity(spec: ServiceSpec): FieldError[] {
  const { sessionAffinity = '', sessionAffinityConfig: config } = spec;
  if (sessionAffinity === '') return [required('spec.sessionAffinity')];
  if (sessionAffinity === 'None') {
    if (config === undefined) return [];
    const detail = 'must not be set when session affinity is None';
    return [forbidden('spec.sessionAffinityConfig', detail)];
  }
  if (sessionAffinity !== 'ClientIP') {
    return [notSupported('spec.sessionAffinity', sessionAffinity, ['ClientIP', 'None'])];
  }
  const field = 'spec.sessionAffinityConfig.clientIP.timeoutSeconds';
  const seconds = config?.clientIP?.timeoutSeconds;
  if (seconds === undefined) {
    return [required(field, 'must be set when session affinity is ClientIP')];
  }
  if (seconds > 0 && seconds <= 86_400) return [];
  return [invalidValue(field, seconds, 'must be greater than 0 and less than 86400')];
}

function validateExternalIps({ externalIPs = [] }: ServiceSpec): FieldError[] {
  return externalIPs.flatMap((ip, index) => {
    const wrong = ipAddress(ip);
    const messages = wrong.length > 0 ? wrong : specialRange(ip, 'may not be');
    return invalidFor(`spec.externalIPs[${index}]`, ip, messages);
  });
}

/** Whether the Service can be reached from outside the cluster. */
function isExternallyReachable({ type, externalIPs = [] }: ServiceSpec): boolean {
  if (type === 'LoadBalancer' || type === 'NodePort') return true;
  return type === 'ClusterIP' && externalIPs.length > 0;
}

function validateTrafficPolicies(spec: ServiceSpec): FieldError[] {
  const errors: FieldError[] = [];
  const external = spec.externalTrafficPolicy;
  if (!isExternallyReachable(spec)) {
    if (external) {
      const detail = 'may only be set for externally-accessible services';
      errors.push(invalidValue('spec.externalTrafficPolicy', external, detail));
    }
  } else if (!external) {
    errors.push(required('spec.externalTrafficPolicy'));
  } else if (!policies.includes(external)) {
    errors.push(notSupported('spec.externalTrafficPolicy', external, policies));
  }
  const internal = spec.internalTrafficPolicy;
  if (internal && !policies.includes(internal)) {
    errors.push(notSupported('spec.internalTrafficPolicy', internal, policies));
  }
  const distribution = spec.trafficDistribution;
  const known = ['PreferClose', 'PreferSameNode', 'PreferSameZone'];
  if (distribution !== undefined && !known.includes(distribution)) {
    errors.push(notSupported('spec.trafficDistribution', distribution, known));
  }
  return [...errors, ...validateHealthCheckPort(spec)];
}

function validateHealthCheckPort(spec: ServiceSpec): FieldError[] {
  const port = spec.healthCheckNodePort;
  if (!port) return [];
  if (spec.type === 'LoadBalancer' && spec.externalTrafficPolicy === 'Local') {
    return invalidFor('spec.healthCheckNodePort', port, portNumber(port));
  }
  const detail =
    "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
  return [invalidValue('spec.healthCheckNodePort', port, detail)];
}

function validateLoadBalancer(spec: ServiceSpec): FieldError[] {
  const errors: FieldError[] = [];
  const onlyForThese = "may only be used when `type` is 'LoadBalancer'";
  const ranges = spec.loadBalancerSourceRanges ?? [];
  if (spec.type === 'LoadBalancer') {
    ranges.forEach((range, index) =>
      // The API really spells this path with a capital L.
      errors.push(
        ...invalidFor(`spec.LoadBalancerSourceRanges[${index}]`, range, cidr(range.trim())),
      ),
    );
    if (spec.allocateLoadBalancerNodePorts === undefined) {
      errors.push(required('spec.allocateLoadBalancerNodePorts'));
    }
    const name = spec.loadBalancerClass;
    if (name !== undefined) {
      errors.push(...invalidFor('spec.loadBalancerClass', name, qualifiedName(name)));
    }
    return errors;
  }
  if (ranges.length > 0) errors.push(forbidden('spec.LoadBalancerSourceRanges', onlyForThese));
  for (const name of ['allocateLoadBalancerNodePorts', 'loadBalancerClass'] as const) {
    if (spec[name] !== undefined) errors.push(forbidden(`spec.${name}`, onlyForThese));
  }
  return errors;
}

function validateStatus({ spec, status }: Service): FieldError[] {
  return (status?.loadBalancer?.ingress ?? []).flatMap(({ ip, hostname, ipMode }, index) => {
    const field = `status.loadBalancer.ingress[${index}]`;
    const errors: FieldError[] = [];
    if (ip) errors.push(...invalidFor(`${field}.ip`, ip, familyOf(ip) ? [] : ipAddress(ip)));
    if (ip && ipMode === undefined) {
      errors.push(required(`${field}.ipMode`, 'must be set when `ip` is set'));
    }
    if (ipMode !== undefined && !ip) {
      errors.push(forbidden(`${field}.ipMode`, 'may not be specified when `ip` is not set'));
    } else if (ipMode !== undefined && ipMode !== 'VIP' && ipMode !== 'Proxy') {
      errors.push(notSupported(`${field}.ipMode`, ipMode, ['VIP', 'Proxy']));
    }
    if (hostname && familyOf(hostname) !== undefined) {
      const detail = 'must be a DNS name, not an IP address';
      errors.push(invalidValue(`${field}.hostname`, hostname, detail));
    } else if (hostname) {
      errors.push(...invalidFor(`${field}.hostname`, hostname, dnsSubdomain(hostname)));
    }
    if (spec.type !== 'LoadBalancer') {
      const detail = "may only be used when `spec.type` is 'LoadBalancer'";
      errors.push(forbidden('status.loadBalancer.ingress', detail));
    }
    return errors;
  });
}
