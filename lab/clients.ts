/**
 * Legitimate clients: `node clients.js URL PER_SECOND SECONDS FIRST_ADDRESS`. Each request is a new connection from the next
 * address of the pool, or, where the first one is below zero, from the client's own. Starts no more when it gets a message. Sends one
 * message with every attempt when all have ended.
 */
import { get } from 'node:http';
import { client, poolAddress } from './topology.ts';

/** One attempt: whether the whole page came, and how long the connection took, in milliseconds. */
export interface Attempt {
  readonly succeeded: boolean;
  readonly connectMs: number | undefined;
}

/** A client gives up after this: two retries of the SYN fit in. */
const PATIENCE_MS = 4000;

async function attempt(url: string, localAddress: string): Promise<Attempt> {
  return await new Promise((resolve) => {
    const started = performance.now();
    let connectMs: number | undefined;
    const request = get(url, { agent: false, localAddress, timeout: PATIENCE_MS });
    const giveUp = setTimeout(() => request.destroy(new Error('out of patience')), PATIENCE_MS);
    const end = (succeeded: boolean): void => {
      clearTimeout(giveUp);
      resolve({ succeeded, connectMs });
    };
    request.on('socket', (socket) =>
      socket.on('connect', () => {
        connectMs = performance.now() - started;
      }),
    );
    request.on('response', (response) => {
      response.resume();
      response.on('end', () => {
        end(response.statusCode === 200);
      });
      response.on('error', () => {
        end(false);
      });
    });
    request.on('error', () => {
      end(false);
    });
  });
}

async function run(
  url: string,
  perSecond: number,
  seconds: number,
  first: number,
  stopped: () => boolean,
): Promise<Attempt[]> {
  const total = Math.round(perSecond * seconds);
  const attempts: Promise<Attempt>[] = [];
  const started = performance.now();
  for (let index = 0; index < total && !stopped(); index++) {
    const due = started + (index * 1000) / perSecond;
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, due - performance.now())));
    attempts.push(attempt(url, first < 0 ? client.ipv4 : poolAddress(first + index)));
  }
  return await Promise.all(attempts);
}

if (process.send) {
  const [url = '', perSecond, seconds, first] = process.argv.slice(2);
  let stopped = false;
  process.once('message', () => {
    stopped = true;
  });
  const attempts = await run(url, Number(perSecond), Number(seconds), Number(first), () => stopped);
  process.send(attempts);
  process.disconnect();
}
