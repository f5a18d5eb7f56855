/** The `process_*` metrics that every client library has. The library's own set wakes up all the time. */
import { Counter, Gauge, type Registry } from 'prom-client';
import { readdirSync, readFileSync } from 'node:fs';

/** Registers them; each is read when somebody scrapes. */
export function addProcessMetrics(registry: Registry): void {
  const cpu = new Counter({
    name: 'process_cpu_seconds_total',
    help: 'CPU time, user and system',
    registers: [],
    collect() {
      const { user, system } = process.cpuUsage();
      this.reset();
      this.inc((user + system) / 1e6);
    },
  });
  registry.registerMetric(cpu);
  const gauges: readonly [name: string, help: string, read: () => number][] = [
    ['process_resident_memory_bytes', 'Resident memory', () => process.memoryUsage.rss()],
    ['process_virtual_memory_bytes', 'Virtual memory', () => statusKilobytes('VmSize') * 1024],
    ['process_open_fds', 'Open file descriptors', () => readdirSync('/proc/self/fd').length - 1],
    ['process_max_fds', 'Limit of open file descriptors', fileLimit],
    ['process_start_time_seconds', 'Start, since the epoch', () => performance.timeOrigin / 1000],
  ];
  for (const [name, help, read] of gauges) {
    const gauge = new Gauge({
      name,
      help,
      registers: [],
      collect() {
        this.set(read());
      },
    });
    registry.registerMetric(gauge);
  }
}

function statusKilobytes(name: string): number {
  const text = readFileSync('/proc/self/status', 'utf8');
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1] ?? 0);
}

function fileLimit(): number {
  const text = readFileSync('/proc/self/limits', 'utf8');
  return Number(/^Max open files\s+(\d+)/m.exec(text)?.[1] ?? 0);
}
