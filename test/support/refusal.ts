import { expect } from 'vitest';
import { DslError } from '../../src/ebpf/language.ts';

/** Expects the toolkit to refuse what `build` writes, at a line of the author's file; gives the message. */
export function expectRefusal(build: () => unknown, reason: RegExp, file: string): string {
  let error: unknown;
  try {
    build();
  } catch (caught) {
    error = caught;
  }
  expect(error).toBeInstanceOf(DslError);
  const { message, location } = error as DslError;
  expect(message).toMatch(reason);
  expect(location?.file).toBe(file);
  return message;
}
