/** Every limit on something that grows, with its reason. */
export const limits = {
  /** A request body larger than this is refused with 413, as kube-apiserver does (A44). */
  bodyBytesMax: 3 * 1024 * 1024,
  /** All `Warning` headers of one answer together (kube-apiserver: 4 KiB). */
  warningBytesMax: 4096,
  /** An object larger than this is not stored: etcd's limit, so that objects stay portable (A44). */
  objectBytesMax: 1536 * 1024,
  /** Unsent bytes after which a slow watcher is cut off; it resumes from its version (A90). */
  watchBufferBytesMax: 16 * 1024 * 1024,
  /** The first pause before a broken list or watch is tried again; it doubles. */
  watchRetryMs: 10,
  /** The longest such pause: a server that comes back is noticed within this time. */
  watchRetryMsMax: 3000,
  /** A stream that lived this long was sound: its end is followed by no pause. */
  watchSettledMs: 1000,
  /** The first pause before a failed reconcile is tried again; it doubles. */
  reconcileRetryMs: 5,
  /** The longest such pause. */
  reconcileRetryMsMax: 30_000,
  /** Changes remembered per kind for watches that resume; older versions get 410 (A85). */
  historyEventsMax: 1024,
  /** Bytes of JSON remembered per kind; parsed objects take about three times as much. */
  historyBytesMax: 2 * 1024 * 1024,
  /** Objects per page of a list; that of small ones is some hundred kilobytes a body. */
  listPageItems: 500,
  /** Of the first page, whose objects nobody knows yet. */
  listPageItemsFirst: 100,
  /** Of pages of the largest objects. */
  listPageItemsMin: 20,
  /** What a page of large objects comes to, so that neither side holds a huge body. */
  listPageBytes: 1024 * 1024,
  /** A request without an answer is given up after this. */
  requestTimeoutMs: 30_000,
  /** A watch is renewed after this to twice this, so that servers can move load (client-go: 5-10 min). */
  watchSeconds: 300,
  /** What a peer may send on one stream before we have read it. */
  streamWindowBytes: 256 * 1024,
  /** The same for all streams of a connection together. */
  connectionWindowBytes: 16 * 1024 * 1024,
  /** Event texts remembered for counting repeats; the least used is forgotten. */
  eventsKnownMax: 2000,
  /** Events waiting to be written; more are dropped: they are a help, not a record. */
  eventsWaitingMax: 1000,
  /** The API refuses a longer event message. */
  eventMessageMax: 1024,
  /** Pods made or removed for one owner in one run, so that a mistake is noticed in time. */
  podBurst: 500,
  /** Owners known to be gone, remembered so that the server is not asked for each dependent. */
  goneOwnersMax: 1000,
  /** Endpoints in one slice, the default of kube-controller-manager (K29). */
  endpointsPerSlice: 100,
  /** Addresses in one Endpoints object or mirrored subset (K30, K32). */
  endpointsAddressesMax: 1000,
  /** Events waiting for an in-process watcher; past it the stream ends and the watcher lists again. */
  localWatchEventsMax: 10_000,
  /** Answers up to this size go out uncompressed (A30). */
  plainBodyBytesMax: 128 * 1024,
  /** A container's log starts anew past this and keeps one predecessor (kubelet: 10 MiB). */
  logFileBytesMax: 10 * 1024 * 1024,
  /** Unsent bytes of one exec, attach or port-forward after which its source is paused (A110). */
  streamBufferBytesMax: 256 * 1024,
  /** Output an attached client may leave unread on disk before it is cut off. */
  attachBehindBytesMax: 256 * 1024 * 1024,
  /** Connections at once to one node port on a loopback address; more are closed at once. */
  localhostConnectionsMax: 10_000,
  /** Streams open at once on one exec or port-forward connection. */
  spdyStreamsMax: 1000,
} as const;
