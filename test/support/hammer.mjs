/** Runs a pinned program on one CPU: `node hammer.mjs PIN FRAME_HEX RUNS`. A process of its own, so that two run at once. */
const { Program, pinToCpu } = await import(new URL('../../dist/src/ebpf/index.js', import.meta.url).href);
const [pin, hex, runs, cpu] = process.argv.slice(2);
pinToCpu(Number(cpu));
const program = Program.openPinned(pin);
program.testRun({ data: Buffer.from(hex, 'hex'), repeat: Number(runs) });
program[Symbol.dispose]();
