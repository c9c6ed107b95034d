/** Flags of an update (linux/bpf.h). LOCK writes under the lock of the value (`spinLock`), which user space always does. */
export const UpdateFlag = { ANY: 0, NOEXIST: 1, EXIST: 2, LOCK: 4 } as const;
