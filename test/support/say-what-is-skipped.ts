/** Runs once before all tests. */
export function setup(): void {
  if (process.getuid?.() !== 0)
    console.warn('\nkernel and lab tests are skipped: they load programs, which needs root\n');
}
