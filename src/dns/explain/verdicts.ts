/** What a Service and its slices say about an answer: pure. */
import type { EndpointSlice, Service } from '../../api/types.ts';
import { canonicalIp } from '../../lib/ip.ts';
import type { ServicePlace } from '../zone/grammar.ts';
import type { Step } from './trace.ts';

/** A Service with what belongs to it, and the step it is to account for. */
export type Facts = {
  readonly service: Service;
  readonly slices: readonly EndpointSlice[];
  readonly place: ServicePlace;
  readonly step: Step;
};

/** `needsPods`: the pods behind the Service say more. */
type Verdict = { readonly reasons: readonly string[]; readonly needsPods: boolean };

/** What an answer does not show. */
export function oddities({ service, slices }: Facts): Verdict {
  if (service.spec.type === 'ExternalName') return { reasons: [], needsPods: false };
  const { ready, all } = countOf(slices);
  if (ready > 0) return { reasons: [], needsPods: false };
  const what = all === 0 ? 'It has no endpoint' : `None of its ${all} endpoints is ready`;
  return { reasons: [`${what}: the name answers, and connections fail`], needsPods: true };
}

/** Why the step has no record. */
export function whyEmpty(facts: Facts, domain: string): Verdict {
  const { service, slices, place, step } = facts;
  const { spec } = service;
  const plain = (reason: string): Verdict => ({ reasons: [reason], needsPods: false });
  if (spec.type === 'ExternalName') return plain(whyAliasEmpty(facts, domain));
  if (place.port !== undefined && !hasPort(facts)) return plain(unknownPort(facts));
  const { ready, all } = countOf(slices);
  const fromEndpoints = spec.clusterIP === 'None' || place.endpoint !== undefined;
  if (fromEndpoints && ready === 0) {
    const what = all === 0 ? 'It has no endpoint' : `None of its ${all} endpoints is ready`;
    return { reasons: [what], needsPods: true };
  }
  if (place.endpoint !== undefined && step.status === 'missing') return unknownEndpoint(facts);
  if (step.type === 'A' || step.type === 'AAAA') {
    const families = (spec.ipFamilies ?? []).join(' and ') || 'the other family';
    return plain(
      `It has addresses of ${families} only, and ${step.type} asks for the other family`,
    );
  }
  if (step.type === 'SRV') return plain('None of its ports has a number to give');
  return plain(`It has no ${step.type} record`);
}

function whyAliasEmpty({ service, place }: Facts, domain: string): string {
  const target = (service.spec.externalName ?? '').replace(/\.$/, '');
  if (canonicalIp(target) !== undefined) {
    return `Its externalName is the address ${target}, which is no host name`;
  }
  if (place.endpoint !== undefined || place.port !== undefined) {
    return 'It is of type ExternalName: nothing stands below it';
  }
  if (`.${target}`.endsWith(`.${domain}`)) {
    return `It is an alias of ${target}, which has no such record`;
  }
  return `It is an alias of ${target}, and has nothing else`;
}

function portsIn({ service, slices }: Facts) {
  const headless = service.spec.clusterIP === 'None';
  return headless ? slices.flatMap(({ ports }) => ports ?? []) : (service.spec.ports ?? []);
}

function hasPort(facts: Facts): boolean {
  const { name, protocol } = facts.place.port!;
  return portsIn(facts).some(
    (port) =>
      (name === '' || name === (port.name ?? '').toLowerCase()) &&
      (protocol === '' || protocol === (port.protocol ?? 'TCP').toLowerCase()),
  );
}

function unknownPort(facts: Facts): string {
  const { name, protocol } = facts.place.port!;
  const known = portsIn(facts).map(
    (port) => `_${port.name || '(no name)'}._${(port.protocol ?? 'TCP').toLowerCase()}`,
  );
  const list = known.length === 0 ? 'it has none' : `it has ${[...new Set(known)].join(', ')}`;
  return `It has no port _${name}._${protocol}: ${list}`;
}

function unknownEndpoint({ slices, place }: Facts): Verdict {
  const names = readyIn(slices).map(({ hostname, addresses }) => hostname ?? dashed(addresses[0]!));
  const shown = names.slice(0, 5).join(', ');
  const more = names.length > 5 ? ` and ${names.length - 5} more` : '';
  const reason = `No ready endpoint of it is called "${place.endpoint}": there are ${shown}${more}`;
  const hidden = slices
    .flatMap(({ endpoints }) => endpoints ?? [])
    .some(({ hostname, conditions }) => {
      return hostname === place.endpoint && conditions?.ready === false;
    });
  if (!hidden) return { reasons: [reason], needsPods: false };
  return { reasons: [`Endpoint "${place.endpoint}" is not ready`], needsPods: true };
}

function dashed(address: string): string {
  return address.replaceAll(/[.:]/g, '-');
}

/** Endpoints that DNS shows. */
export function readyIn(slices: readonly EndpointSlice[]) {
  return slices
    .flatMap(({ endpoints }) => endpoints ?? [])
    .filter(({ conditions }) => conditions?.ready !== false);
}

/** How many endpoints there are, and are shown. */
export function countOf(slices: readonly EndpointSlice[]): { ready: number; all: number } {
  const all = slices.flatMap(({ endpoints }) => endpoints ?? []).length;
  return { ready: readyIn(slices).length, all };
}
