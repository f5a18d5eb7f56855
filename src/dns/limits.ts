/** Every limit on what the DNS server holds, with its reason. */
export const dnsLimits = {
  /** Longer ones are made anew: all together then hold no more than 40 MB, and mostly 2. */
  answerBytesMax: 4096,
  /** Questions of one worker that wait for the main thread: some hundred milliseconds of work. */
  workerQuestionsMax: 4096,
  /** TTL of the cluster's records where none is set. */
  defaultTtlSeconds: 5,
  /** How long a start waits for the watches where CoreDNS waits (D91). */
  startupTimeoutMs: 5000,
  /** Bytes in each half of a cache: usual answers have a hundred, but one can have 65535. */
  cacheBytesMax: 8 * 1024 * 1024,
  /** Fewer entries than this are not worth a cache (D83). */
  cacheEntriesMin: 1024,
  /** A `cache` without properties: entries of each half, and how long they live (D83, D84). */
  cache: {
    success: { entriesMax: 9984, ttlSecondsMin: 5, ttlSecondsMax: 3600, disabled: [] },
    denial: { entriesMax: 9984, ttlSecondsMin: 5, ttlSecondsMax: 1800, disabled: [] },
    /** A failure upstream is remembered so long, that a storm of retries does not follow it (D86). */
    failureSeconds: 5,
  },
  /** Questions on their way upstream; each holds a socket (D90e). */
  upstreamQueriesMax: 1000,
  /** Servers read from resolv.conf (D90a). */
  upstreamsMax: 15,
  /** Connections to one server over TCP or TLS; beyond, questions share them. */
  upstreamConnectionsMax: 64,
  /** A probe of a server that failed (D90d). */
  upstreamProbeMs: 1000,
  upstreamTryMs: 2000,
  upstreamTotalMs: 5000,
  /** How long a server that failed is asked only after the others. */
  upstreamShunMs: 1000,
  /** What we take over UDP from upstream without fragments (DNS flag day 2020). */
  upstreamUdpBytes: 1232,
  /** Node-local caches of a whole cluster keep a connection each (D112). */
  tcpConnectionsMax: 20_000,
  /** One client must not take them all; a whole node's pods may stand behind one address. */
  tcpConnectionsPerClientMax: 2000,
  /** D77. */
  tcpFirstReadMs: 3000,
  tcpIdleMs: 10_000,
  tcpWriteMs: 5000,
  /** Open work may end in this time at a stop. */
  drainMs: 5000,
  /** Explanations made at once: each asks a dozen questions. */
  explainsMax: 10,
  /** How long a cluster's objects may take to arrive before an explanation. */
  explainSyncMs: 10_000,
  /** A loop that was not seen by then is none (D99). */
  loopProbeMs: 30_000,
} as const;
