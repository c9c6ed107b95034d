/** Hosts as network namespaces, joined by veth pairs. Everything the lab sends stays on these links. */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { BPF_FILE_SYSTEM, interfaceIndex, Program, readInterface, XdpLink } from '../src/ebpf/index.ts';
import { clientSide } from './flood-program.ts';
import { ip, Netns } from './netns.ts';

export interface LabHost {
  readonly name: 'client' | 'server';
  readonly ipv4: string;
  readonly ipv6: string;
  readonly mac: string;
}

/** The interface that each host has. */
export const LAB_INTERFACE = 'eth0';

export const client: LabHost = { name: 'client', ipv4: '10.0.0.1', ipv6: 'fd00::1', mac: '02:00:00:00:00:01' };
export const server: LabHost = { name: 'server', ipv4: '10.0.0.10', ipv6: 'fd00::10', mac: '02:00:00:00:00:10' };
export const labHosts = [client, server] as const;

/** More addresses of the client, for many legitimate sources: 10.0.0.50 to 10.0.0.249. */
export const POOL = { first: 50, size: 200 } as const;

export function poolAddress(index: number): string {
  return `10.0.0.${String(POOL.first + (index % POOL.size))}`;
}

/** A lab's namespaces begin with its name, so that several can stand side by side. */
export function namespaceOf(host: LabHost, lab = 'seawall'): Netns {
  return new Netns(`${lab}-${host.name}`);
}

export interface HostStatus {
  readonly host: string;
  readonly namespace: string;
  readonly up: boolean;
  readonly ipv4: string;
  readonly ipv6: string;
}

export function labStatus(lab?: string): HostStatus[] {
  return labHosts.map((host) => {
    const netns = namespaceOf(host, lab);
    return {
      host: host.name,
      namespace: netns.name,
      up: netns.exists && isUp(netns),
      ipv4: host.ipv4,
      ipv6: host.ipv6,
    };
  });
}

function isUp(netns: Netns): boolean {
  try {
    return netns.ip('-o', 'link', 'show', LAB_INTERFACE).includes('LOWER_UP');
  } catch {
    return false; // what an earlier run that crashed left over
  }
}

/** Builds the lab unless it stands; `bare` leaves out the client's program. Returns whether it was built. What a crash left half-built is removed first. */
export function labUp(lab?: string, { bare = false }: { readonly bare?: boolean } = {}): boolean {
  if (labStatus(lab).every((host) => host.up)) return false;
  labDown(lab);
  const [left, right] = labHosts.map((host) => namespaceOf(host, lab)) as [Netns, Netns];
  try {
    left.create();
    right.create();
    left.ip('link', 'add', LAB_INTERFACE, 'type', 'veth', 'peer', 'name', LAB_INTERFACE, 'netns', right.name);
    for (const host of labHosts) configure(host, namespaceOf(host, lab));
    describePeer(left, server);
    describePeer(right, client);
    // Answers to forged addresses leave for the client and vanish there.
    right.ip('route', 'add', 'default', 'via', client.ipv4);
    right.ip('-6', 'route', 'add', 'default', 'via', client.ipv6);
    if (!bare) attachClientSide(left, lab);
  } catch (error) {
    labDown(lab);
    throw error;
  }
  return true;
}

function configure({ ipv4, ipv6, mac, name }: LabHost, netns: Netns): void {
  netns.ip('link', 'set', LAB_INTERFACE, 'address', mac);
  netns.ip('addr', 'add', `${ipv4}/24`, 'dev', LAB_INTERFACE);
  netns.ip('addr', 'add', `${ipv6}/64`, 'dev', LAB_INTERFACE, 'nodad');
  netns.ip('link', 'set', LAB_INTERFACE, 'up');
  if (name === 'client') {
    const addresses = Array.from(
      { length: POOL.size },
      (_, index) => `addr add ${poolAddress(index)}/24 dev ${LAB_INTERFACE}`,
    );
    execFileSync('ip', ['-n', netns.name, '-batch', '-'], { input: addresses.join('\n') });
  }
  netns.run(() => {
    // Forged sources come in by an interface that no route leads back to.
    for (const scope of ['all', LAB_INTERFACE]) writeFileSync(`/proc/sys/net/ipv4/conf/${scope}/rp_filter`, '0');
    writeFileSync('/proc/sys/net/ipv6/conf/all/forwarding', '0');
    writeFileSync('/proc/sys/net/ipv4/ip_forward', '0');
  });
}

/** Neighbours are fixed, so that no flood can crowd out their discovery. */
function describePeer(netns: Netns, { ipv4, ipv6, mac, name }: LabHost): void {
  for (const address of [ipv4, ipv6])
    netns.ip('neigh', 'replace', address, 'lladdr', mac, 'dev', LAB_INTERFACE, 'nud', 'permanent');
  if (name !== 'client') return;
  const pool = Array.from(
    { length: POOL.size },
    (_, index) => `neigh replace ${poolAddress(index)} lladdr ${mac} dev ${LAB_INTERFACE} nud permanent`,
  );
  execFileSync('ip', ['-n', netns.name, '-batch', '-'], { input: pool.join('\n') });
}

/** The pin of the client's program keeps it there while the lab stands. */
const clientPin = (lab = 'seawall'): string => `${BPF_FILE_SYSTEM}/seawall-lab/${lab}`;

function attachClientSide(netns: Netns, lab: string | undefined): void {
  using program = Program.load(clientSide);
  using link = netns.run(() => XdpLink.attach(program, LAB_INTERFACE, { mode: 'native' }));
  link.pin(clientPin(lab));
}

/** The lab's own program on an interface of this network namespace, to be replaced for a while; undefined where it is not there. */
export function clientSideLink(interfaceName: string): XdpLink | undefined {
  const index = interfaceIndex(interfaceName);
  const directory = dirname(clientPin());
  if (index === undefined || !existsSync(directory)) return undefined;
  const { native } = readInterface(index).xdp;
  for (const name of readdirSync(directory)) {
    const link = XdpLink.openPinned(`${directory}/${name}`);
    const { interfaceIndex: at, programId } = link.info;
    if (at === index && programId === native) return link;
    link[Symbol.dispose]();
  }
  return undefined;
}

/** Removes the lab with every process in it; also what an earlier run left behind. Returns whether there was anything. */
export function labDown(lab?: string): boolean {
  const standing = labHosts.map((host) => namespaceOf(host, lab)).filter((netns) => netns.exists);
  for (const netns of standing) netns.remove();
  rmSync(clientPin(lab), { force: true });
  return standing.length > 0;
}

/** @throws Error where ip(8) is missing. */
export function requireIproute(): void {
  ip('-V');
}
