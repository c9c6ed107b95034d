/**
 * What runs inside a virtual machine of `npm run test:kernels`: the data plane against its model, and a real connection through each
 * form of challenge that this kernel can do. Prints one JSON object a line behind `@@`; the last has `done`.
 */
import { fork, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { release } from 'node:os';
import { fileURLToPath } from 'node:url';
import { LAB_INTERFACE, labUp, namespaceOf, client, server } from '../../lab/topology.ts';
import { formFeature } from '../../src/engine/challenger.ts';
import { DEFAULT_STACK, type Form } from '../../src/dataplane/cookie/challenger.ts';
import { pinToCpu } from '../../src/ebpf/index.ts';
import { protect, type PolicyInput } from '../../src/index.ts';
import { Model } from '../support/model.ts';
import { ProgramUnderTest } from '../support/program-under-test.ts';
import { Random, randomFrame } from '../support/random-frame.ts';

const FRAMES = 3000;
const DAY = 86_400n * 1_000_000_000n;
const LAB = 'seawall-guest';

const say = (line: object): void => {
  console.log(`@@${JSON.stringify(line)}`);
};

/** Whether kernel and model agree on random frames; the first disagreement otherwise. */
function compare(policy: PolicyInput, form: 'reset' | undefined): { frames: number; walked: number } {
  using kernel = new ProgramUnderTest(policy, form && { form, stack: DEFAULT_STACK });
  const model = new Model(kernel.protection.policy, kernel.keys, form && { form, listening: new Set() });
  const random = new Random(3);
  let now = DAY;
  for (let index = 0; index < FRAMES; index++) {
    now += BigInt(random.pick([0, 0, 1000, 20_000_000, 400_000_000]));
    const data = randomFrame(random);
    const expected = model.judge(data, now);
    const found = kernel.at(now).judge(data, expected.reason);
    const same = found.verdict === 'drop' || found.data.equals(expected.data);
    if (found.verdict === expected.verdict && found.reason === expected.reason && same) continue;
    throw new Error(
      `frame ${data.toString('hex')}: ${found.verdict} ${found.reason}, expected ${expected.verdict} ${expected.reason}`,
    );
  }
  kernel.checkTotals();
  return { frames: FRAMES, walked: kernel.program.info.verifiedInstructions };
}

const worker = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const FETCH = `require('node:http').get(process.argv[1], (r) => { let n = 0; r.on('data', (d) => { n += d.length; }); r.on('end', () => console.log('bytes', n)); }).on('error', (e) => console.log(String(e)))`;

function connect(form: Form): object {
  const feature = formFeature(form);
  if (feature && !feature.available) return { skipped: `${feature.name} (Linux ${feature.since})` };
  const there = namespaceOf(server, LAB);
  using protection = there.run(() =>
    protect(LAB_INTERFACE, { challenge: { mode: 'always', form, 'set-sysctls': true } }),
  );
  const fetched = [`http://${server.ipv4}/`, `http://[${server.ipv6}]/`].map((url) => {
    const ran = namespaceOf(client, LAB).run(() =>
      spawnSync(process.execPath, ['-e', FETCH, url], { encoding: 'utf8', timeout: 60_000 }),
    );
    return ran.stdout.trim();
  });
  const { challenged } = protection.stats().reasons;
  if (challenged < 2n || fetched.some((line) => !/^bytes [1-9]/.test(line)))
    throw new Error(`${form}: ${fetched.join(', ')}; ${String(challenged)} challenged`);
  return { connections: fetched.length };
}

function attempt(name: string, test: () => object): boolean {
  try {
    say({ name, ok: true, ...test() });
    return true;
  } catch (error) {
    say({ name, ok: false, error: error instanceof Error ? error.message.slice(0, 2000) : String(error) });
    return false;
  }
}

say({ kernel: release() });
pinToCpu(0);
const outcomes = [
  attempt('model, limits', () => compare({ challenge: { mode: 'off' } }, undefined)),
  attempt('model, challenges', () => compare({ challenge: { mode: 'always' } }, 'reset')),
];
labUp(LAB);
const http = namespaceOf(server, LAB).run(() =>
  fork(worker('lab/http-server.js'), ['80'], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] }),
);
await once(http, 'message');
for (const form of ['assign', 'kernel', 'reset'] as const)
  outcomes.push(attempt(`a connection through ${form}`, () => connect(form)));
http.kill();
say({ done: true, ok: outcomes.every(Boolean) });
