import { execFileSync } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, it } from 'vitest';
import { addressOf, pageSize, RouteSocket } from './libc.ts';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

it('keeps buffers alive whose address was taken for the next call', async () => {
  const [taken, other] = ((): WeakRef<Buffer>[] => {
    const buffers = [Buffer.alloc(100), Buffer.alloc(100)] as const;
    addressOf(buffers[0]);
    return buffers.map((buffer) => new WeakRef(buffer));
  })();
  await setImmediate(); // a WeakRef keeps its object until here
  collectGarbage();
  expect(other!.deref()).toBeUndefined();
  expect(taken!.deref()?.length).toBe(100);
});

it('knows the size of a page', () => {
  expect(String(pageSize())).toBe(execFileSync('getconf', ['PAGESIZE'], { encoding: 'utf8' }).trim());
});

it('sends nothing through the descriptor of a socket that was closed', () => {
  const socket = RouteSocket.open() as RouteSocket;
  socket[Symbol.dispose]();
  const next = openSync('/dev/null', 'r');
  expect(socket.dump(Buffer.alloc(16))).toEqual({ ok: false, errno: 'EBADF' });
  socket[Symbol.dispose]();
  closeSync(next);
});
