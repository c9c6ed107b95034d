/**
 * `npm run test:kernels [-- 6.1 6.12]`: boots Debian's kernels in qemu, in software, with an initramfs of busybox, this machine's node and ip, and
 * the built project, and runs `test/kernels/guest.ts` there. Needs qemu-system-x86, busybox-static and Debian's archive.
 */
import { execFileSync, spawn } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const CACHE = join(tmpdir(), 'seawall-kernels');
const PATIENCE_MS = 900_000;
/** Modules that Debian does not build in, in the order in which they need each other. */
const MODULES = ['veth', 'sch_ingress', 'cls_bpf'];
const RUNTIME = ['koffi', '@koromix', 'zod', 'smol-toml', 'ipaddr.js', 'commander'];

const run = (command: string, ...args: string[]): string =>
  execFileSync(command, args, { encoding: 'utf8', maxBuffer: 1 << 28 });

/** The newest signed cloud kernel of a release, unpacked. */
function kernel(version: string): { readonly image: string; readonly modules: string } {
  const pattern = new RegExp(`^linux-image-${version.replace('.', '\\.')}\\.\\S*-?cloud-amd64$`);
  const names = run('apt-cache', 'pkgnames', `linux-image-${version}.`)
    .split('\n')
    .filter((name) => pattern.test(name) && !name.includes('unsigned'));
  const newest = names.toSorted((a, b) => a.localeCompare(b, 'en', { numeric: true })).at(-1);
  if (newest === undefined) throw new Error(`find a kernel ${version}: Debian has none here; run apt-get update`);
  const directory = join(CACHE, newest);
  if (!existsSync(join(directory, 'boot'))) {
    mkdirSync(directory, { recursive: true });
    execFileSync('apt-get', ['download', newest], { cwd: directory, stdio: ['ignore', 'ignore', 'inherit'] });
    run(
      'dpkg',
      '-x',
      join(
        directory,
        readdirSync(directory).find((name) => name.endsWith('.deb'))!,
      ),
      directory,
    );
  }
  const image = readdirSync(join(directory, 'boot')).find((name) => name.startsWith('vmlinuz'))!;
  const modules = [join(directory, 'lib/modules'), join(directory, 'usr/lib/modules')].find((path) =>
    existsSync(path),
  )!;
  return { image: join(directory, 'boot', image), modules };
}

/** Copies a program with the libraries that it is linked to. */
function copyProgram(path: string, root: string): void {
  const target = join(root, path);
  mkdirSync(dirname(target), { recursive: true });
  cpSync(path, target, { dereference: true });
  for (const [, library] of run('ldd', path).matchAll(/(\/\S+) \(0x/g)) {
    const place = join(root, library!);
    if (existsSync(place)) continue;
    mkdirSync(dirname(place), { recursive: true });
    cpSync(library!, place, { dereference: true });
  }
}

function initramfs(modules: string, directory: string): string {
  const root = join(directory, 'root');
  for (const path of ['bin', 'proc', 'sys', 'dev', 'tmp', 'run/netns', 'etc', 'seawall'])
    mkdirSync(join(root, path), { recursive: true });
  cpSync('/bin/busybox', join(root, 'bin/busybox'), { dereference: true });
  copyProgram(process.execPath, root);
  const ip = run('sh', '-c', 'command -v ip').trim();
  copyProgram(ip, root);
  cpSync(join(ROOT, 'dist'), join(root, 'seawall/dist'), { recursive: true });
  cpSync(join(ROOT, 'package.json'), join(root, 'seawall/package.json'));
  for (const name of RUNTIME) {
    const from = join(ROOT, 'node_modules', name);
    if (existsSync(from))
      cpSync(from, join(root, 'seawall/node_modules', name), { recursive: true, dereference: true });
  }
  for (const name of MODULES) {
    const [found] = run('find', modules, '-name', `${name}.ko*`).trim().split('\n');
    if (found) cpSync(found, join(root, `${name}.ko`));
  }
  const init = `#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
mkdir -p /run/netns
mount -t bpf bpf /sys/fs/bpf
export PATH=${dirname(ip)}:${dirname(process.execPath)}:/bin HOME=/tmp
ip link set lo up
for module in ${MODULES.join(' ')}; do [ -f /$module.ko ] && insmod /$module.ko; done
cd /seawall
${process.execPath} dist/test/kernels/guest.js 2>&1
poweroff -f
`;
  writeFileSync(join(root, 'init'), init, { mode: 0o755 });
  const image = join(directory, 'initramfs.gz');
  run('sh', '-c', `cd ${root} && find . | busybox cpio -o -H newc 2>/dev/null | gzip -1 > ${image}`);
  return image;
}

interface GuestLine {
  readonly kernel?: string;
  readonly name?: string;
  readonly ok?: boolean;
  readonly skipped?: string;
  readonly error?: string;
  readonly done?: boolean;
}

async function boot(version: string): Promise<boolean> {
  const { image, modules } = kernel(version);
  const directory = mkdtempSync(join(tmpdir(), 'seawall-qemu-'));
  try {
    const disk = initramfs(modules, directory);
    const machine = '-accel tcg,thread=multi -cpu max -m 3G -smp 2 -nographic -no-reboot -nic none';
    const guest = spawn(
      'qemu-system-x86_64',
      [...machine.split(' '), '-kernel', image, '-initrd', disk, '-append', 'console=ttyS0 panic=-1 quiet'],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    const alarm = setTimeout(() => guest.kill('SIGKILL'), PATIENCE_MS);
    let output = '';
    guest.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
    await new Promise((resolve) => guest.once('exit', resolve));
    clearTimeout(alarm);
    const lines = Array.from(output.matchAll(/@@(\{.*\})/g), (match) => JSON.parse(match[1]!) as GuestLine);
    for (const { kernel: booted, name, ok, skipped, error } of lines) {
      if (booted !== undefined) console.log(`Linux ${booted}`);
      if (name === undefined) continue;
      const outcome = !ok
        ? `FAILED  ${name}: ${error ?? ''}`
        : skipped
          ? `skipped ${name}: lacks ${skipped}`
          : `ok      ${name}`;
      console.log(`  ${outcome}`);
    }
    const last = lines.at(-1);
    if (!last?.done) console.error(`Linux ${version}: the guest did not come to its end:\n${output.slice(-4000)}`);
    return last?.done === true && last.ok === true;
  } finally {
    rmSync(directory, { recursive: true });
  }
}

const versions = process.argv.slice(2);
let good = true;
for (const version of versions.length > 0 ? versions : ['6.1', '6.12']) good = (await boot(version)) && good;
process.exitCode = good ? 0 : 1;
