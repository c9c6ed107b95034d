/* The common design: a token bucket in two LRU maps, one for tokens and one for the time of the last refill. */
SEC("maps") struct map tokens;
SEC("maps") struct map refills;

#define SECOND 1000000000ULL
#define BURST 5

static inline int bucket(u32 key)
{
	u64 now = ktime_get_ns();
	u32 *left = map_lookup(&tokens, &key);
	u64 *refilled = map_lookup(&refills, &key);
	if (!left || !refilled) {
		u32 fresh = BURST - 1;
		map_update(&tokens, &key, &fresh, 0);
		map_update(&refills, &key, &now, 0);
		return XDP_PASS;
	}
	u64 elapsed = now - *refilled;
	u32 have = *left;
	if (elapsed >= SECOND) {
		u64 back = elapsed / SECOND;
		have = have + back > BURST ? BURST : have + back;
		*refilled += back * SECOND;
	}
	if (have == 0) {
		*left = 0;
		return XDP_DROP;
	}
	*left = have - 1;
	return XDP_PASS;
}
