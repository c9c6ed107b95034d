/** Programs on an interface, attached, swapped and taken off as steps of a change. */
import { interfaceName as nameOfIndex, Program, TcLink, type XdpLink } from '../ebpf/index.ts';
import { attemptAll, throwFirst, type Transaction } from './transaction.ts';

/** Attaches a program, as a step of a change. It may be pinned meanwhile: closing its link alone would not take it off at once. */
export function attach<L extends XdpLink | TcLink>(transaction: Transaction, make: () => L): L {
  return transaction.step(make, takeOff);
}

/** Puts the accepting half in its place. Where it is not needed any more it stays as it is, until its time has passed (`protected-interface.ts`). */
export function linkAccept(
  transaction: Transaction,
  accept: Program | undefined,
  name: string,
  link: TcLink | undefined,
): TcLink | undefined {
  if (!accept) return link;
  if (!link) return attach(transaction, () => TcLink.attach(accept, name));
  swapProgram(transaction, link, accept);
  return link;
}

/** What the interface of a link is called by now. */
export function nameOf(link: XdpLink | undefined): string | undefined {
  return link && nameOfIndex(link.interfaceIndex);
}

/** Takes a program off its interface. */
export function takeOff(link: XdpLink | TcLink): void {
  throwFirst(attemptAll([() => link.detach(), () => link[Symbol.dispose]()]));
}

/** Swaps the program of a link, as a step of a change. */
export function swapProgram(transaction: Transaction, link: XdpLink | TcLink, program: Program): void {
  const before = Program.openById(link.programId);
  transaction.afterwards(() => before[Symbol.dispose]());
  transaction.step(
    () => undefined,
    () => before[Symbol.dispose](),
  );
  transaction.step(
    () => link.update(program),
    () => link.update(before),
  );
}
