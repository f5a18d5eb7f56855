/** Services as a proxy of its own keeps them: without what people and other programs wrote beside. */
import type { Service } from '../api/types.ts';

/** The whole object once more, as text. */
const LAST_APPLIED = 'kubectl.kubernetes.io/last-applied-configuration';

/** Drops what no plan looks at. */
export function slimService(service: Service): Service {
  const { managedFields: _fields, ownerReferences: _owners, ...metadata } = service.metadata;
  const { selector: _selector, ...spec } = service.spec;
  const { [LAST_APPLIED]: _applied, ...annotations } = metadata.annotations ?? {};
  return { ...service, metadata: { ...metadata, annotations }, spec };
}
