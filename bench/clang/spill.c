#include "bpf.h"

struct digest { u64 a, b; };
SEC("maps") struct map digests;

/* Keeps twelve words alive across two calls: more than four registers survive. */
SEC("xdp") int prog(struct xdp_md *ctx)
{
	u8 *data = (void *)(long)ctx->data;
	if (data + 54 > (u8 *)(long)ctx->data_end)
		return XDP_PASS;
	u32 w0 = *(u32 *)(data + 0), w1 = *(u32 *)(data + 4), w2 = *(u32 *)(data + 8), w3 = *(u32 *)(data + 12);
	u32 w4 = *(u32 *)(data + 16), w5 = *(u32 *)(data + 20), w6 = *(u32 *)(data + 24), w7 = *(u32 *)(data + 28);
	u32 w8 = *(u32 *)(data + 32), w9 = *(u32 *)(data + 36), w10 = *(u32 *)(data + 40), w11 = *(u32 *)(data + 44);
	u64 now = ktime_get_coarse_ns();
	u32 key = 0;
	struct digest *digest = map_lookup(&digests, &key);
	if (!digest)
		return XDP_PASS;
	u32 a = (u32)now, b = ~(u32)now;
#define MIX(w) a = (a ^ w) * 0x9e3779b1u; b = (b + w) ^ (a >> 15);
	MIX(w0) MIX(w1) MIX(w2) MIX(w3) MIX(w4) MIX(w5) MIX(w6) MIX(w7) MIX(w8) MIX(w9) MIX(w10) MIX(w11)
	digest->a = a;
	digest->b = b;
	return XDP_PASS;
}
