import { attr, attribute } from '../src/ebpf/sys/attr.ts';
import { command } from '../src/ebpf/sys/bpf.ts';
import { addressOf } from '../src/ebpf/sys/libc.ts';

/**
 * Nanoseconds a run; timed from outside, because the kernel's own figure is rounded to whole ones. The program must be on
 * some interface: otherwise each test run registers it with the XDP dispatcher and waits for RCU, several milliseconds.
 */
export function timeProgram(fd: number, data: Uint8Array, runs: number): number {
  const frameBytes = Buffer.from(data);
  const attributes = attribute(attr.testRun, {
    programFd: fd,
    dataSizeIn: frameBytes.length,
    dataIn: addressOf(frameBytes),
    repeat: runs,
  });
  const start = process.hrtime.bigint();
  command('PROG_TEST_RUN', attributes, 'time program');
  return Number(process.hrtime.bigint() - start) / runs;
}
