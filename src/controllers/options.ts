/** What a cluster may set about its controllers. */
export type ControllerOptions = {
  /** The cluster's CA, for the ConfigMap `kube-root-ca.crt` of each namespace; absent: none made. */
  readonly caPem?: string;
  /** The ranges each node gets its pod CIDR from, one per family; empty: nodes are left alone. */
  readonly podCidrs: readonly { readonly cidr: string; readonly nodePrefixLength: number }[];
  /** Without a renewed Lease for this long a node counts as lost. */
  readonly nodeGraceMs: number;
  /** How long pods stay on a lost node unless they say otherwise themselves. */
  readonly defaultTolerationSeconds: number;
};

/** The defaults of kube-controller-manager. */
export const defaultControllerOptions: ControllerOptions = {
  podCidrs: [],
  nodeGraceMs: 40_000,
  defaultTolerationSeconds: 300,
};
