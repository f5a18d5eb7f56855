/** From a question to what the zones say about it: pure but for the data it reads. */
import { TYPE, type Question, type ResourceRecord } from '../wire/message.ts';
import { foldCase, isWithin, labelsOf, type Name } from '../wire/name.ts';
import { find, type Found } from './find.ts';
import { addressOfReverse, placeOf } from './grammar.ts';
import { isAddressType, nameserversOf } from './nameservers.ts';
import {
  addressRecord,
  aliasRecord,
  dedupe,
  internet,
  record,
  soaRecord,
  versionRecord,
} from './records.ts';
import { serviceRecords } from './service-records.ts';
import type { Zones } from './zones.ts';

/** What the zones say. `zone` is the part of the asked name that is ours, in the asker's spelling. */
export type Outcome =
  | {
      readonly kind: 'records';
      readonly answers: readonly ResourceRecord[];
      readonly additionals: readonly ResourceRecord[];
    }
  /** The answer goes on outside the zones, at `target` (D44). */
  | { readonly kind: 'alias'; readonly answers: readonly ResourceRecord[]; readonly target: Name }
  /** NODATA, NXDOMAIN, REFUSED. */
  | { readonly kind: 'empty' }
  | { readonly kind: 'missing' }
  | { readonly kind: 'refused' };

export type Lookup = {
  readonly zone: Name;
  readonly outcome: Outcome;
};

const empty: Outcome = { kind: 'empty' };
const missing: Outcome = { kind: 'missing' };

/** Answers from the zones, or undefined when the name lies outside of them (D1). */
export function lookup(zones: Zones, question: Question): Lookup | undefined {
  const folded = foldCase(question.name);
  const owned = zones.owned.find(({ name }) => isWithin(folded, name));
  if (owned === undefined) return undefined;
  const zone = question.name.slice(-owned.name.length);
  const labels = labelsOf(`${folded.slice(0, -owned.name.length)}\0`);
  const ask = { zones, question, zone, labels };
  const outcome =
    ask.question.class !== internet ? { kind: 'refused' as const } : answer(ask, owned);
  return { zone, outcome };
}

type Ask = {
  readonly zones: Zones;
  readonly question: Question;
  readonly zone: Name;
  readonly labels: readonly string[];
};

function answer(ask: Ask, owned: { readonly reverse: 'ipv4' | 'ipv6' | undefined }): Outcome {
  const { type } = ask.question;
  if (type === TYPE.AXFR || type === TYPE.IXFR) return { kind: 'refused' };
  if (ask.labels.length === 0) return answerApex(ask);
  // Even for a name that does not exist (D37).
  if (type === TYPE.SOA) return empty;
  if (ask.labels.length === 1 && ask.labels[0] === 'dns-version') return answerVersion(ask);
  if (owned.reverse !== undefined) return answerReverse(ask);
  return answerCluster(ask);
}

function answerApex({ zones, question, zone }: Ask): Outcome {
  if (question.type === TYPE.SOA) return records([soaRecord(zones, zone)]);
  if (question.type === TYPE.NS) {
    const { targets, glue } = nameserversOf(zones, zone);
    const answers = targets.map((name) => record(zones, question.name, TYPE.NS, [name]));
    return notEmpty(answers, glue);
  }
  return question.type === TYPE.TXT && zones.strictCoredns ? missing : empty;
}

function answerVersion({ zones, question }: Ask): Outcome {
  if (question.type === TYPE.TXT) return records([versionRecord(question.name)]);
  return zones.strictCoredns ? missing : empty;
}

/** Only a PTR has an answer; all else is a name error, which may be passed on upstream (D58). */
function answerReverse({ zones, question }: Ask): Outcome {
  const address = addressOfReverse(foldCase(question.name));
  if (question.type !== TYPE.PTR || address === undefined) return missing;
  const targets = reverseTargets(zones, address);
  if (targets.length === 0) return missing;
  return records(targets.map((name) => record(zones, question.name, TYPE.PTR, [name])));
}

/** A cluster IP comes before endpoints (D54); an endpoint has a name in each Service (D55). */
function reverseTargets(zones: Zones, address: string): Name[] {
  const service = zones.data.serviceAt(address);
  if (service !== undefined && isShown(zones, service.namespace))
    return [zones.nameOfService(service, zones.domain)];
  const names = zones.data.endpointsAt(address).flatMap(({ slice, endpoint }) => {
    const owner = zones.data.service(slice.namespace, slice.service);
    // CoreDNS does not look whether the name it gives is one.
    const exists = owner !== undefined && owner.kind !== 'alias';
    if (!exists && !zones.strictCoredns) return [];
    if (!isShown(zones, slice.namespace)) return [];
    const key = { namespace: slice.namespace, name: slice.service };
    return [zones.nameOfEndpoint(key, endpoint.host, zones.domain)];
  });
  return dedupe(names, (name) => name);
}

/** CoreDNS looks here only at the list of namespaces, not at their labels. */
function isShown(zones: Zones, namespace: string): boolean {
  return !zones.hidesNamespaces || zones.data.hasNamespace(namespace);
}

function answerCluster(ask: Ask): Outcome {
  const { zones, question, zone, labels } = ask;
  const place = placeOf(labels, zones);
  if (zones.strictCoredns && place.kind === 'nameserver') {
    const { type } = question;
    if (type === TYPE.TXT || type === TYPE.PTR) return missing;
  }
  const found = find(zones, place, zone);
  if (found.kind === 'missing') return missing;
  const { type } = question;
  if (found.kind === 'alias') {
    if (type === TYPE.CNAME) return records([aliasRecord(zones, question.name, found.target)]);
    return isAddressType(type) ? follow(ask, question.name, found.target, []) : empty;
  }
  if (isAddressType(type)) return notEmpty(addressRecords(zones, question.name, found, type));
  if (type === TYPE.SRV && found.kind === 'items') {
    const { answers, glue } = serviceRecords(zones, question.name, found);
    return notEmpty(answers, glue);
  }
  const inner = place.kind === 'branch' || place.kind === 'namespace';
  return zones.strictCoredns && type === TYPE.TXT && inner ? missing : empty;
}

/** The addresses of one family, each once (D14, D17). */
function addressRecords(
  zones: Zones,
  owner: Name,
  found: Found,
  type: number,
): readonly ResourceRecord[] {
  if (found.kind !== 'items') return [];
  const addresses = found.items
    .map(({ address }) => address)
    .filter((address) => address !== undefined && address.type === type);
  return dedupe(addresses, (address) => address.text).map((address) =>
    addressRecord(zones, owner, address),
  );
}

/** More aliases than this in a row are a mistake (D45). */
const aliasesMax = 10;

/** Follows an alias through the zone (D42); an end that yields nothing takes all with it (D43). */
function follow(ask: Ask, owner: Name, target: Name, before: readonly ResourceRecord[]): Outcome {
  const { zones, question } = ask;
  const folded = foldCase(target);
  const seen = [question.name, ...before.map(({ data }) => String(data[0]))].map(foldCase);
  if (seen.includes(folded) || before.length > aliasesMax) return empty;
  const answers = [...before, aliasRecord(zones, owner, target)];
  const own = foldCase(ask.zone);
  if (!isWithin(folded, own)) return { kind: 'alias', answers, target };
  const labels = labelsOf(`${folded.slice(0, -own.length)}\0`);
  const found = find(zones, placeOf(labels, zones), own);
  if (found.kind === 'alias') return follow(ask, target, found.target, answers);
  const addresses = addressRecords(zones, target, found, question.type);
  return addresses.length === 0 ? empty : records([...answers, ...addresses]);
}

function records(
  answers: readonly ResourceRecord[],
  additionals: readonly ResourceRecord[] = [],
): Outcome {
  return { kind: 'records', answers, additionals };
}

function notEmpty(
  answers: readonly ResourceRecord[],
  additionals: readonly ResourceRecord[] = [],
): Outcome {
  return answers.length === 0 ? empty : records(answers, additionals);
}
