/** Why reading can end; `stages/parse.ts` says what each means. */
export type ParseReason =
  | 'not-ip'
  | 'not-tcp'
  | 'later-fragment'
  | 'truncated'
  | 'bad-ip-header'
  | 'bad-length'
  | 'vlan-depth'
  | 'ipv6-chain'
  | 'tiny-fragment'
  | 'fragment'
  | 'bad-tcp-header';

/** How a path of any type of program ends for a reason. */
export type LeaveWith<R> = (reason: ParseReason) => R;
