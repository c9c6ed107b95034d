#include "bpf.h"

struct bucket { u64 tokens, refilled; };
SEC("maps") struct map buckets;

#define SECOND 1000000000ULL
#define BURST 5

SEC("xdp") int prog(struct xdp_md *ctx)
{
	struct ipv4 *ip;
	struct tcp *tcp;
	if (!is_syn((void *)(long)ctx->data, (void *)(long)ctx->data_end, &ip, &tcp))
		return XDP_PASS;
	u32 key = ip->saddr;
	u64 now = ktime_get_ns();
	struct bucket *bucket = map_lookup(&buckets, &key);
	if (!bucket) {
		struct bucket fresh = { BURST - 1, now };
		map_update(&buckets, &key, &fresh, 0);
		return XDP_PASS;
	}
	u64 tokens = bucket->tokens;
	u64 elapsed = now - bucket->refilled;
	if (elapsed >= SECOND) {
		u64 back = elapsed / SECOND;
		tokens += back;
		if (tokens > BURST)
			tokens = BURST;
		bucket->refilled += back * SECOND;
	}
	if (tokens == 0)
		return XDP_DROP;
	bucket->tokens = tokens - 1;
	return XDP_PASS;
}
