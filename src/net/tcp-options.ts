/** TCP options (RFC 9293, section 3.1; RFC 7323; RFC 2018). */
export type TcpOption =
  | { readonly kind: 'mss'; readonly size: number }
  | { readonly kind: 'windowScale'; readonly shift: number }
  | { readonly kind: 'sackPermitted' }
  | { readonly kind: 'timestamps'; readonly value: number; readonly echo: number }
  | { readonly kind: 'nop' }
  | { readonly kind: 'end' }
  | { readonly kind: 'other'; readonly number: number; readonly data: Uint8Array };

const Kind = { END: 0, NOP: 1, MSS: 2, WINDOW_SCALE: 3, SACK_PERMITTED: 4, TIMESTAMPS: 8 } as const;

function encodeOption(option: TcpOption): number[] {
  switch (option.kind) {
    case 'end':
      return [Kind.END];
    case 'nop':
      return [Kind.NOP];
    case 'mss':
      return [Kind.MSS, 4, option.size >> 8, option.size & 0xff];
    case 'windowScale':
      return [Kind.WINDOW_SCALE, 3, option.shift];
    case 'sackPermitted':
      return [Kind.SACK_PERMITTED, 2];
    case 'timestamps': {
      const words = Buffer.alloc(8);
      words.writeUInt32BE(option.value, 0);
      words.writeUInt32BE(option.echo, 4);
      return [Kind.TIMESTAMPS, 10, ...words];
    }
    case 'other':
      return [option.number, option.data.length + 2, ...option.data];
  }
}

/** Options in their wire form, filled up to a multiple of four with zeros (end of list). */
export function encodeTcpOptions(options: readonly TcpOption[]): Buffer {
  const bytes = options.flatMap(encodeOption);
  while (bytes.length % 4 !== 0) bytes.push(Kind.END);
  return Buffer.from(bytes);
}

/** Reads options as far as they make sense; a length that cannot be ends the list, and `complete` is false. */
export function decodeTcpOptions(bytes: Buffer): { options: TcpOption[]; complete: boolean } {
  const options: TcpOption[] = [];
  for (let at = 0; at < bytes.length;) {
    const number = bytes[at]!;
    if (number === Kind.END) break;
    if (number === Kind.NOP) {
      options.push({ kind: 'nop' });
      at++;
      continue;
    }
    const length = bytes[at + 1] ?? 0;
    if (length < 2 || at + length > bytes.length) return { options, complete: false };
    options.push(decodeOption(number, bytes.subarray(at + 2, at + length)));
    at += length;
  }
  return { options, complete: true };
}

function decodeOption(number: number, data: Buffer): TcpOption {
  if (number === Kind.MSS && data.length === 2) return { kind: 'mss', size: data.readUInt16BE(0) };
  if (number === Kind.WINDOW_SCALE && data.length === 1) return { kind: 'windowScale', shift: data[0]! };
  if (number === Kind.SACK_PERMITTED && data.length === 0) return { kind: 'sackPermitted' };
  if (number === Kind.TIMESTAMPS && data.length === 8) {
    return { kind: 'timestamps', value: data.readUInt32BE(0), echo: data.readUInt32BE(4) };
  }
  return { kind: 'other', number, data: Uint8Array.from(data) };
}

/** The options of a Linux client's SYN, in its order. */
export const LINUX_SYN_OPTIONS: readonly TcpOption[] = [
  { kind: 'mss', size: 1460 },
  { kind: 'sackPermitted' },
  { kind: 'timestamps', value: 0x01020304, echo: 0 },
  { kind: 'nop' },
  { kind: 'windowScale', shift: 7 },
];
