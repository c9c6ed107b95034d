/** The flood as a process of its own: `node flooder.js OPTIONS_JSON`. Sends its report as a message. */
import { flood, type FloodOptions } from './flood.ts';

process.send?.(flood(JSON.parse(process.argv[2] ?? '{}') as FloodOptions));
process.disconnect();
