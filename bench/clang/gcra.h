SEC("maps") struct map cells;

#define MASK ((1 << 20) - 1)
#define INTERVAL 1000000000ULL
#define CREDIT (4 * INTERVAL)

static inline int gcra(u32 address)
{
	u32 hash = address * 0x9e3779b1u;
	hash ^= hash >> 15;
	hash *= 0x85ebca6bu;
	hash ^= hash >> 13;
	u32 key = hash & MASK;
	u64 *cell = map_lookup(&cells, &key);
	if (!cell)
		return XDP_PASS;
	u64 now = ktime_get_coarse_ns();
	u64 before = *cell;
	u64 start = before < now ? now : before;
	if (start - now > CREDIT)
		return XDP_DROP;
	if (__sync_val_compare_and_swap(cell, before, start + INTERVAL) != before)
		return XDP_DROP;
	return XDP_PASS;
}
