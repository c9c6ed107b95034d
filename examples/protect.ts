/** Protects an interface for a minute and prints what becomes of each SYN: `node dist/examples/protect.js eth0`. */
import { protect } from 'seawall';

using protection = protect(process.argv[2] ?? 'eth0', {
  limits: { source: { rate: '2/s', burst: 10 } },
  services: [{ name: 'web', ports: [80, 443] }],
});
console.log(`protecting ${protection.interface} in ${protection.mode} mode`);

setTimeout(() => {
  protection.update({ challenge: { mode: 'always' } }); // everybody proves that they are real, without a gap
}, 30_000);
setTimeout(() => {
  console.log(protection.stats());
  protection[Symbol.dispose](); // detaches, and ends the loop below
}, 60_000);

for await (const { source, verdict, reason } of protection.events()) {
  console.log(`${source} ${verdict}: ${reason}`);
}
