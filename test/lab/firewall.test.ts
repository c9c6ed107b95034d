/** What a firewall does to connections is read from the tools that are there, and the form that is named instead connects. */
import { execFileSync, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { client, LAB_INTERFACE, labDown, labUp, namespaceOf, server } from '../../lab/topology.ts';
import { firewallNotes, readFirewall } from '../../src/engine/firewall.ts';
import { hostNotes } from '../../src/engine/host-notes.ts';
import { protect } from '../../src/index.ts';
import { resolvePolicy } from '../../src/policy/policy.ts';
import { describeAsRoot } from '../support/as-root.ts';
import { Running } from '../support/cli.ts';

const LAB = 'seawall-firewall';
const clients = namespaceOf(client, LAB);
const behind = namespaceOf(server, LAB);

/** Port 8080 is another port's, as where docker-proxy listens on a port that is rewritten before it; new connections begin with a SYN. */
const RULES = `
table ip sent { chain pre { type nat hook prerouting priority dstnat; tcp dport 8080 redirect to :80; }; }
table inet own { chain in { type filter hook input priority 0;
  tcp dport { 23, 6000-6010 } drop
  ct state new tcp flags & (fin|syn|rst|ack) != syn drop
  ct state established accept
}; }`;
const SERVER = `
const { createServer } = require('node:http');
for (const port of [80, 8080]) createServer((_, response) => response.end(String(port))).listen(port, '::', () => console.log('listening', port))`;
const curl = (url: string): string =>
  clients.run(() => spawnSync('curl', ['-s', '-m', '8', url], { encoding: 'utf8' }).stdout);

describeAsRoot('the firewall', () => {
  let http: Running;
  beforeAll(async () => {
    labDown(LAB);
    labUp(LAB);
    behind.run(() => {
      execFileSync('nft', ['-f', '-'], { input: RULES });
    });
    http = new Running('nsenter', [`--net=${behind.path}`, process.execPath, '-e', SERVER]);
    await http.until(/listening 8080/);
  });
  afterAll(async () => {
    await http.stop('SIGKILL');
    labDown(LAB);
  });

  it('is read, and a line says what to do', () => {
    const rules = behind.run(readFirewall);
    expect(rules.map(({ kind, ports }) => [kind, ports])).toEqual([
      ['rewritten', [{ first: 8080, last: 8080 }]],
      [
        'dropped',
        [
          { first: 23, last: 23 },
          { first: 6000, last: 6010 },
        ],
      ],
      ['wants-syn', []],
    ]);
    const [sent, dropped, wanted] = firewallNotes(resolvePolicy(), rules);
    expect(sent).toMatch(/^port 8080 is sent elsewhere by the firewall \(nft, table ip sent, chain pre\)/);
    expect(dropped).toContain('ports = ["1-22", "24-5999", "6011-65535"]');
    expect(wanted).toMatch(/^every port takes new connections only by SYN .*form = "reset"/);
  });

  it('lets clients in with the form that the line names', () => {
    using protection = behind.run(() => protect(LAB_INTERFACE, { challenge: { mode: 'always', form: 'reset' } }));
    for (const port of [80, 8080]) {
      protection.forgetVerified();
      expect(curl(`http://10.0.0.10:${String(port)}/`)).toBe('80');
    }
    expect(protection.stats().reasons).toMatchObject({ challenged: 2n, proof: 2n });
  });

  it('says that tcp_syncookies is off', () => {
    behind.run(() => {
      writeFileSync('/proc/sys/net/ipv4/tcp_syncookies', '0');
      expect(hostNotes(resolvePolicy({ challenge: { form: 'reset' } }))[0]).toMatch(/tcp_syncookies is 0/);
      writeFileSync('/proc/sys/net/ipv4/tcp_syncookies', '1');
    });
  });
});
