#include "bpf.h"
#include "common_design.h"

SEC("xdp") int prog(struct xdp_md *ctx)
{
	struct ipv4 *ip;
	struct tcp *tcp;
	if (!is_syn((void *)(long)ctx->data, (void *)(long)ctx->data_end, &ip, &tcp))
		return XDP_PASS;
	return bucket(get_prandom_u32());
}
