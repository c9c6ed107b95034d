/** Waits for Ctrl-C (or SIGTERM), so that `using` takes the program off the interface before the process ends. */
export async function untilInterrupted(): Promise<void> {
  const alive = setInterval(() => {}, 1 << 30); // signals alone do not keep Node running
  await new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve());
  });
  clearInterval(alive);
}
