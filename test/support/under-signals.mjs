/** Loads a program that takes the verifier long and runs it, in a process that gets signals all the time; prints the outcome of each as JSON. */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';

const { Program, xdp, XDP } = await import(new URL('../../dist/src/ebpf/index.js', import.meta.url).href);
let signals = 0;
process.on('SIGUSR2', () => signals++);
const source = `
  const { parentPort, workerData } = require('node:worker_threads');
  parentPort.postMessage('begun');
  for (;;) process.kill(workerData, 'SIGUSR2');`;
const sender = new Worker(source, { eval: true, workerData: process.pid });
await once(sender, 'message');

const long = xdp('long', ($) => {
  const sum = $.let($.u32(0));
  $.loop(20_000, () => {
    $.if($.randomU32().eq(1), () => sum.set(sum.add(1)));
  });
  return XDP.PASS;
});
const outcomes = [];
const attempt = (what, action) => {
  try {
    outcomes.push(`${what} ${String(action())}`);
  } catch (error) {
    outcomes.push(`${what} ${String(error)}`);
  }
};
for (let round = 0; round < 3; round++) {
  attempt('load', () => {
    const program = Program.load(long);
    attempt('run', () => program.testRun({ data: Buffer.alloc(64), repeat: 3000 }).verdict);
    return program.size > 0;
  });
}
await new Promise((resolve) => setImmediate(resolve));
await sender.terminate();
console.log(JSON.stringify({ outcomes, signalled: signals > 0 }));
