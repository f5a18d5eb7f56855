/** Discovery bodies, plain data ready for JSON (A1-A8). */

/** `GET /api`. */
export function apiVersions(serverAddress: string): object {
  return { serverAddress };
}

/** `GET /apis`. */
export function apiGroupList(): object {
  return {};
}

/** `GET /apis/<group>`; undefined for an unknown group. */
export function apiGroup(group: string): object | undefined {
  void group;
  return undefined;
}

/** `GET /api/v1` (group '') or `/apis/<group>/<version>`; undefined when not served. */
export function apiResourceList(group: string, version: string): object | undefined {
  void group;
  void version;
  return undefined;
}

/** Aggregated discovery for `/api` or `/apis`. */
export function aggregatedDiscovery(root: 'api' | 'apis', version: 'v2' | 'v2beta1'): object {
  return { root, version };
}
