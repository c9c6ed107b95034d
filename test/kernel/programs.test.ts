import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import {
  array,
  arrayMap,
  be16,
  BPF_FILE_SYSTEM,
  bytes,
  dump,
  func,
  kernelAtLeast,
  probedMapTypes,
  probedProgramTypes,
  probeHelper,
  probeJit,
  probeMapType,
  probeProgramType,
  Program,
  requireFeature,
  struct,
  TC,
  tc,
  TCP_LISTEN,
  u32,
  u64,
  u8,
  UnsupportedError,
  VerifierError,
  verifierVisits,
  xdp,
  XDP,
} from '../../src/ebpf/index.ts';
import { ethernet, frame, ipv4, tcp } from '../../src/net/build.ts';
import { Eth } from '../../src/net/headers.ts';
import { describeAsRoot } from '../support/as-root.ts';

const data = frame([ethernet(), ipv4(), tcp()]);
const cell = arrayMap('cell', { value: u64, maxEntries: 1 });
const Small = struct('small', { value: u32, pad: u32 });
const small = arrayMap('small', { value: Small, maxEntries: 1 });

describeAsRoot('programs', () => {
  it('tells its name, number and size, and is found by pin and by number', () => {
    using program = Program.load(xdp('named', () => XDP.PASS));
    expect(program.info).toMatchObject({ name: 'named', type: 6 });
    const path = `${BPF_FILE_SYSTEM}/seawall-test-programs/program`;
    program.pin(path);
    try {
      using byPin = Program.openPinned(path);
      using byId = Program.openById(program.info.id);
      expect([byPin.info.id, byId.name]).toEqual([program.info.id, 'named']);
    } finally {
      rmSync(`${BPF_FILE_SYSTEM}/seawall-test-programs`, { recursive: true });
    }
  });

  it('makes room in front of a frame, and refuses views from before', () => {
    const Tag = struct('tag', { value: be16, pad: be16 });
    using program = Program.load(
      xdp('push', (_$, packet) => {
        packet.adjustHead(-4).orExit(XDP.ABORTED);
        packet.take(Tag).orExit(XDP.ABORTED).set({ value: 0xbeef, pad: 0 });
        return XDP.TX;
      }),
    );
    const result = program.testRun({ data });
    expect(result.data.subarray(0, 4).toString('hex')).toBe('beef0000');
    expect(result.data.subarray(4)).toEqual(data);
    expect(() =>
      xdp('stale', (_$, packet) => {
        const eth = packet.take(Eth).orExit(XDP.PASS);
        packet.adjustTail(-1).orExit(XDP.DROP);
        eth.set({ proto: 1 });
        return XDP.PASS;
      }),
    ).toThrow(/packet was resized/);
  });

  it('cuts the end of a frame', () => {
    using program = Program.load(
      xdp('cut', (_$, packet) => {
        packet.adjustTail(-10).orExit(XDP.ABORTED);
        return XDP.PASS;
      }),
    );
    expect(program.testRun({ data }).data).toEqual(data.subarray(0, -10));
  });

  it('takes up the cursor where branches of different length meet', () => {
    const Two = struct('two', { value: be16 });
    using program = Program.load(
      xdp('meet', ($, packet) => {
        const first = packet.take(Two).orExit(XDP.ABORTED);
        $.if(first.value.eq(1), () => {
          packet.take(Two).orExit(XDP.ABORTED);
        });
        return packet.take(Two).orExit(XDP.ABORTED).value.host().u32();
      }),
    );
    const run = (...words: number[]): number => {
      const bytesOf = Buffer.alloc(64);
      words.forEach((word, index) => bytesOf.writeUInt16BE(word, index * 2));
      return program.testRun({ data: bytesOf }).verdict;
    };
    expect([run(1, 7, 9), run(0, 7, 9)]).toEqual([9, 7]);
  });

  it('walks a chain of headers in a loop', () => {
    const Link = struct('chain', { more: be16, value: be16 });
    using program = Program.load(
      xdp('chain', ($, packet) => {
        const sum = $.let($.u32(0));
        $.loop(8, (_round, loop) => {
          const link = packet.take(Link).orExit(XDP.ABORTED);
          sum.set(sum.add(link.value.host().u32()));
          loop.breakIf(link.more.eq(0));
        });
        const after = packet.take(Link).orExit(XDP.ABORTED);
        return sum.shl(16).or(after.value.host().u32());
      }),
    );
    const chain = Buffer.alloc(64);
    [1, 10, 1, 20, 0, 30, 0, 99].forEach((word, index) => chain.writeUInt16BE(word, index * 2));
    expect(program.testRun({ data: chain }).verdict).toBe((60 << 16) | 99);
  });

  it('stands where the loop began when its body leaves after moving the cursor', () => {
    const Word = struct('word', { value: be16 });
    using program = Program.load(
      xdp('left', ($, packet) => {
        $.loop(3, (_round, loop) => {
          loop.breakIf(packet.remaining().lt(1000));
          packet.take(Word).orExit(XDP.ABORTED);
          $.if($.randomU32().eq(7), () => {
            packet.take(Word).orExit(XDP.ABORTED);
          });
          return XDP.TX;
        });
        return packet.take(Word).orExit(XDP.ABORTED).value.host().u32();
      }),
    );
    const words = Buffer.alloc(64);
    words.writeUInt16BE(77, 0);
    expect(program.testRun({ data: words }).verdict).toBe(77);
  });

  it('does not count on what the verifier forgets across divisions and byte swaps', () => {
    const Bytes = struct('two_bytes', { a: u8, b: u8, c: be16 });
    const Table = struct('table', { items: array(u32, 16) });
    const table = arrayMap('table', { value: Table, maxEntries: 1 });
    using program = Program.load(
      xdp('forgets', ($, packet) => {
        const { a, b, c } = packet.take(Bytes).orExit(XDP.ABORTED);
        const { items } = $.at(table, 0);
        items.ref(a.div(b).shr(4).and(15)).set(1);
        items.ref(c.host().shr(12).and(15)).set(2);
        const variable = $.let(a.mod(b));
        items.ref(variable.and(15)).set(3);
        return XDP.PASS;
      }),
    );
    program.testRun({ data: Buffer.from('6402300000'.padEnd(128, '0'), 'hex') });
    expect(program.map(table).lookup(0)!.items.slice(0, 4)).toEqual([3, 0, 0, 2]);
    expect(() =>
      xdp('unbounded', ($, packet) => {
        const { a, b } = packet.take(Bytes).orExit(XDP.ABORTED);
        return $.at(table, 0).items.at(a.div(b));
      }),
    ).toThrow(/the index may reach 4294967295/);
  });

  it('calls functions of its own', () => {
    const square = func('square', [32], 32, ($, value) => {
      $.if(value.gt(1000), () => 0);
      return value.mul(value);
    });
    using program = Program.load(xdp('calls', ($) => $.invoke(square, 12).add($.invoke(square, 2000))));
    expect(program.testRun({ data }).verdict).toBe(144);
  });

  it('changes shared memory atomically, in 32 and 64 bits', () => {
    using program = Program.load(
      xdp('atomics', ($) => {
        const wide = $.at(cell, 0).ref('value');
        const narrow = $.at(small, 0).ref('value');
        wide.atomicAdd(5);
        const before = wide.fetchAdd(10n);
        narrow.exchange(0xffff_ffff);
        const old = narrow.compareExchange(0xffff_ffff, 3);
        wide.compareExchange(1, 99); // does not hold 1
        return $.select(old.eq(0xffff_ffff), before.u32(), $.u32(0));
      }),
    );
    expect(program.testRun({ data }).verdict).toBe(5);
    expect([program.map(cell).lookup(0), program.map(small).lookup(0)]).toEqual([15n, { value: 3, pad: 0 }]);
  });

  it('hands memory of its frame to helpers', () => {
    const Text = struct('text', { text: bytes(16) });
    using program = Program.load(
      xdp('helper', ($, packet) => {
        const text = $.stack(Text);
        const failure = $.call('xdp_load_bytes', packet, 0, text, 16);
        $.if(failure.ne(0), () => XDP.ABORTED);
        const eth = packet.take(Eth).orExit(XDP.ABORTED);
        const [first] = text.text.words();
        const [same] = [eth.dst.part(0).u32()];
        return $.if(
          first!.eq(same),
          () => XDP.TX,
          () => XDP.DROP,
        );
      }),
    );
    expect(program.testRun({ data }).verdict).toBe(XDP.TX.code);
  });

  it('gives the context back, and the time a run took', () => {
    using program = Program.load(xdp('context', (_$, packet) => packet.receiveQueue().add(40)));
    const context = Buffer.alloc(24);
    context.writeUInt32LE(data.length, 4);
    const result = program.testRun({ data, context, repeat: 1000 });
    expect(result.verdict).toBe(40);
    expect(result.context).toHaveLength(24);
    expect(result.nanoseconds).toBeGreaterThan(0);
  });

  it('prints the TypeScript line that the verifier refuses', () => {
    const other = arrayMap('other', { value: u64, maxEntries: 1 });
    const refused = xdp('refused', ($, packet) => {
      const far = packet.remaining();
      const found = $.lookup(other, 0).orExit(XDP.PASS);
      const record = $.stack(Small);
      $.call('xdp_load_bytes', packet, 0, record, far); // a length that nobody bounded
      return $.if(
        found.value.eq(1),
        () => XDP.DROP,
        () => XDP.PASS,
      );
    });
    let error: unknown;
    try {
      Program.load(refused);
    } catch (caught) {
      error = caught;
    }
    expect(error).toBeInstanceOf(VerifierError);
    const { message, reason, location } = error as VerifierError;
    expect(reason).toMatch(/R4|unbounded|invalid/);
    expect(location?.file).toMatch(/programs\.test\.ts$/);
    expect(message).toContain("$.call('xdp_load_bytes', packet, 0, record, far); // a length");
    expect(message).toMatch(/> \d+ \| .*\n.*\^/);
  });

  it('prints the line of a helper that this kind of program must not call', () => {
    const refused = xdp('wrong_helper', ($) => {
      $.call('get_current_pid_tgid');
      return XDP.PASS;
    });
    // 6.10 allows this one everywhere; a helper for sockets alone is refused in all of them.
    const sockets = xdp('wrong_helper', ($, packet) => {
      $.call('get_netns_cookie', packet);
      return XDP.PASS;
    });
    for (const spec of kernelAtLeast('6.10') ? [sockets] : [refused, sockets])
      expect(() => Program.load(spec)).toThrow(VerifierError);
  });

  it('gives the kernel TypeScript lines from the built package as well, by its source maps', () => {
    const script = `
      import { protection } from './dist/src/dataplane/pipeline.js';
      import { resolvePolicy } from './dist/src/policy/policy.js';
      import { compile } from './dist/src/ebpf/index.js';
      import { lineTable } from './dist/src/ebpf/btf/program-info.js';
      const lines = lineTable(compile(protection(resolvePolicy()).program));
      console.log(JSON.stringify(lines.map(({ location }) => location.file)));`;
    const output = execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
    const files = new Set(JSON.parse(output) as string[]);
    const sources = [...files].map((file) => file.replace(/.*\/(src|dist)\//, '$1/'));
    expect(sources).toEqual(expect.arrayContaining(['src/dataplane/pipeline.ts', 'src/dataplane/state/meter.ts']));
    expect(sources.filter((file) => !/^src\/(dataplane(\/\w+)?|net)\/[\w-]+\.ts$/.test(file))).toEqual([]);
  });

  it("counts the verifier's steps by instruction", () => {
    const spec = xdp('steps', ($) => {
      const sum = $.let($.u32(0));
      $.loop(5, () => {
        sum.set(sum.add($.randomU32()));
      });
      return $.if(
        sum.eq(0),
        () => XDP.DROP,
        () => XDP.PASS,
      );
    });
    const visits = verifierVisits(spec);
    using program = Program.load(spec);
    const call = dump(spec)
      .bytecode.split('\n')
      .findIndex((line) => line.includes('call get_prandom_u32'));
    expect(visits).toHaveLength(program.size);
    expect([visits[0], visits[call]]).toEqual([1, 5]);
    expect(visits.reduce((sum, count) => sum + count)).toBe(program.info.verifiedInstructions);
  });

  it('runs traffic-control programs, which see the whole length of a packet', () => {
    const seen = arrayMap('seen', { value: u32, maxEntries: 1 });
    using program = Program.load(
      tc('length', ($, packet) => {
        $.at(seen, 0).ref('value').set(packet.totalLength());
        packet.pull(20).orExit(TC.SHOT);
        packet.peek(struct('start', { words: array(u32, 5) })).orExit(TC.SHOT);
        return TC.UNSPEC;
      }),
    );
    const { verdict } = program.testRun({ data: new Uint8Array(100) });
    expect([verdict | 0, program.map(seen).lookup(0)]).toEqual([-1, 100]);
  });

  it('returns actions of traffic control that were computed, and REDIRECT', () => {
    const Start = struct('start', { first: u8 });
    using program = Program.load(
      tc('computed', ($, packet) => {
        const { first } = packet.peek(Start).orExit(TC.SHOT);
        $.if(first.eq(9), () => TC.REDIRECT);
        return first.u32().add(1);
      }),
    );
    const run = (first: number): number => program.testRun({ data: Buffer.alloc(64, first) }).verdict;
    expect([run(1), run(9)]).toEqual([TC.SHOT.code, TC.REDIRECT.code]);
  });

  it('takes headers anew after a helper that changed the packet', () => {
    using program = Program.load(
      xdp('helper', ($, packet) => {
        const eth = packet.take(Eth).orExit(XDP.ABORTED);
        $.if(eth.proto.eq(0x86dd), () => {
          $.call('xdp_adjust_head', packet, 14);
        });
        packet.restart();
        return packet.take(Eth).orExit(XDP.ABORTED).proto.host().u32();
      }),
    );
    const frames = Buffer.alloc(64);
    frames.writeUInt16BE(0x86dd, 12);
    frames.writeUInt16BE(0x0806, 26);
    expect(program.testRun({ data: frames }).verdict).toBe(0x0806);
  });

  it('looks a listener up, and releases it on every path', async () => {
    const Tuple = struct('tuple', { saddr: u32, daddr: u32, ports: u32 });
    const Found = struct('found', { listening: u32, tcp: u32 });
    const found = arrayMap('found', { value: Found, maxEntries: 1 });
    const looking = xdp('looking', ($, packet) => {
      const { words } = packet.take(struct('question', { words: array(u32, 4) })).orExit(XDP.PASS);
      const tuple = $.stack(Tuple);
      tuple.set({ daddr: words.at(0), ports: words.at(1) });
      packet.tcpSocket(tuple, Tuple.size, (socket) => {
        $.if(socket.state.eq(TCP_LISTEN), () => {
          $.at(found, 0).set({ listening: 1 });
          socket.asTcp().match({
            some: () => {
              $.at(found, 0).set({ tcp: 1 });
            },
          });
        });
      });
      return XDP.PASS;
    });
    using program = Program.load(looking);
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const ask = (asked: number): unknown => {
      program.map(found).update(0, { listening: 0, tcp: 0 });
      const data = Buffer.alloc(16);
      data.set([127, 0, 0, 1], 0);
      data.writeUInt16BE(asked, 6); // the server's port comes second
      program.testRun({ data });
      return program.map(found).lookup(0);
    };
    expect(ask(port)).toEqual({ listening: 1, tcp: 1 });
    server.close();
    await once(server, 'close');
    expect(ask(port)).toEqual({ listening: 0, tcp: 0 });
  });

  it('names a function that this kernel does not have', () => {
    const asking = tc('asking', ($, packet) => {
      $.callKernel('bpf_no_such_function', packet);
      return TC.OK;
    });
    expect(() => Program.load(asking)).toThrow(/use kernel function bpf_no_such_function: this kernel has no such/);
  });

  it('finds what this kernel can do', () => {
    const features = [
      ...probedMapTypes.map((type) => probeMapType(type)),
      ...probedProgramTypes.map((type) => probeProgramType(type)),
      probeHelper('ktime_get_ns'),
      probeHelper('ringbuf_reserve'),
      probeHelper('xdp_load_bytes'),
      probeJit(),
    ];
    for (const { name, available, since } of features) {
      if (kernelAtLeast(since)) expect({ name, available }).toEqual({ name, available: true });
    }
    const missing = probeHelper('sock_map_update');
    expect(missing.available).toBe(false);
    expect(() => requireFeature(missing)).toThrow(UnsupportedError);
  });
});

describeAsRoot('a process that gets many signals', () => {
  it('loads and runs programs all the same', () => {
    const script = fileURLToPath(new URL('../support/under-signals.mjs', import.meta.url));
    const output = execFileSync(process.execPath, [script], { encoding: 'utf8' });
    const rounds = Array.from({ length: 3 }, () => ['run 2', 'load true']).flat();
    expect(JSON.parse(output)).toEqual({ outcomes: rounds, signalled: true });
  });
});
