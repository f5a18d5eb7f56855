/** What `kubectl explain` says of types and fields, in our own words. */
import type { Field, Type } from '../schema.ts';

const kinds: Record<string, string> = {
  'core/v1.Binding': 'Binding ties a pod to the node that is to run it.',
  'core/v1.ConfigMap': 'ConfigMap holds configuration as keys and values, for pods to use.',
  'core/v1.Endpoints':
    'Endpoints lists the addresses and ports that stand behind the Service of the same name.',
  'core/v1.Event': 'Event reports something that happened to an object.',
  'core/v1.Namespace': 'Namespace is a scope for names.',
  'core/v1.Node': 'Node is a machine that runs pods.',
  'core/v1.Pod': 'Pod is a group of containers that run on one node and share one address.',
  'core/v1.Secret': 'Secret holds data that is not for everybody, base64-encoded.',
  'core/v1.Service':
    'Service gives a set of pods one stable name and address, and spreads connections over them.',
  'core/v1.ServiceAccount': 'ServiceAccount is the identity of the processes in a pod.',
  'discovery/v1.EndpointSlice':
    'EndpointSlice lists some of the endpoints of a Service; together its slices list them all.',
  'apps/v1.Deployment':
    'Deployment keeps a number of equal pods running and rolls out changes to them.',
  'apps/v1.ReplicaSet': 'ReplicaSet keeps a number of equal pods running.',
  'apps/v1.StatefulSet': 'StatefulSet keeps pods with lasting names, started and stopped in order.',
  'apps/v1.ControllerRevision': 'ControllerRevision is a kept state of a workload, to go back to.',
  'coordination/v1.Lease': 'Lease says who holds something, and until when.',
  'meta/v1.ObjectMeta': 'ObjectMeta is what every object carries: its name, labels and history.',
  'meta/v1.LabelSelector':
    'LabelSelector chooses objects by labels; all its requirements must hold. Empty chooses all.',
  'core/v1.ServiceSpec': 'ServiceSpec says what a Service is to look like.',
  'core/v1.ServicePort': 'ServicePort is a port at which a Service answers.',
  'core/v1.PodSpec': 'PodSpec says what a pod is to run.',
  'core/v1.Container': 'Container is one program of a pod, with its image, ports and environment.',
  'core/v1.Probe': 'Probe is a check of a container, made again and again.',
  IntOrString: 'A number, or a text such as a name or a percentage.',
  Quantity: 'An amount with a suffix, such as 100m or 64Mi.',
  Time: 'A time in RFC 3339, to the second.',
  MicroTime: 'A time in RFC 3339, to the microsecond.',
};

const fields: Record<string, string> = {
  metadata: 'Name, labels and other data about the object.',
  spec: 'What is wanted.',
  status: 'What is, as last seen.',
  'ServiceSpec.allocateLoadBalancerNodePorts':
    'Whether node ports are allocated for a LoadBalancer Service.',
  'ServiceSpec.clusterIP':
    'The virtual address of the Service; None makes it headless. Allocated when empty.',
  'ServiceSpec.clusterIPs': 'The virtual addresses, at most one of each IP family.',
  'ServiceSpec.externalIPs':
    'Addresses that lead to the nodes by other means and are served like the virtual one.',
  'ServiceSpec.externalName': 'The DNS name that an ExternalName Service is an alias of.',
  'ServiceSpec.externalTrafficPolicy':
    'Local sends outside traffic only to pods of the node it reached and keeps its source ' +
    'address; Cluster sends it to any pod.',
  'ServiceSpec.healthCheckNodePort':
    'The port at which a node says whether it has pods of this Service.',
  'ServiceSpec.internalTrafficPolicy':
    'Local sends traffic from inside only to pods of the same node.',
  'ServiceSpec.ipFamilies': 'IPv4, IPv6 or both, the primary family first.',
  'ServiceSpec.ipFamilyPolicy': 'SingleStack, PreferDualStack or RequireDualStack.',
  'ServiceSpec.ports': 'The ports at which the Service answers.',
  'ServiceSpec.publishNotReadyAddresses': 'Whether pods that are not ready are published too.',
  'ServiceSpec.selector':
    'Labels of the pods behind the Service. Without it somebody else makes the endpoints.',
  'ServiceSpec.sessionAffinity':
    'ClientIP sends the connections of one client to one pod; None does not.',
  'ServiceSpec.type':
    'ClusterIP, NodePort, LoadBalancer or ExternalName. The first is the default.',
  'ServicePort.nodePort': 'The port on every node, 30000-32767. Allocated when empty.',
  'ServicePort.port': 'The port of the Service.',
  'ServicePort.protocol': 'TCP, UDP or SCTP. The first is the default.',
  'ServicePort.targetPort':
    'The port of the pods, a number or the name of a container port; the same port when empty.',
  'DeploymentSpec.replicas': 'How many pods are wanted; 1 when empty.',
  'PodSpec.containers': 'The containers that run side by side.',
  'PodSpec.initContainers': 'The containers that run before, one after the other.',
  'PodSpec.nodeName': 'The node that runs the pod.',
  'PodSpec.restartPolicy': 'Always, OnFailure or Never. The first is the default.',
  'Container.image': 'The image the container runs.',
  'Container.readinessProbe': 'While this check fails, Services send nothing to the pod.',
  'Container.livenessProbe': 'When this check fails, the container is restarted.',
};

/** One or two sentences about a type. */
export function describeType(id: string): string {
  return kinds[id] ?? `${words(id.slice(id.lastIndexOf('.') + 1))}.`;
}

/** One sentence about a field; plain words made of its name where nobody wrote any. */
export function describeField(type: Type, field: Field): string {
  const known = fields[`${type.name}.${field.name}`] ?? fields[field.name];
  return known ?? `${words(field.name)} of the ${words(type.name).toLowerCase()}.`;
}

/** `Image pull policy` of `imagePullPolicy`. */
function words(name: string): string {
  const text = name.replaceAll(/(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])/g, ' ');
  const lower = text.replaceAll(/\b[A-Z](?=[a-z])/g, (letter) => letter.toLowerCase());
  return lower.charAt(0).toUpperCase() + lower.slice(1);
}
