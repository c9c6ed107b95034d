/* A SYN cookie of the kernel's and nothing else: the answer with an MSS option, in place. The frame has no options of its own. */
#include "bpf.h"

static long (*raw_gen_syncookie)(void *ip, void *tcp, u32 length) = (void *)204;
static long (*adjust_tail)(void *ctx, int delta) = (void *)65;

struct syn { struct eth eth; struct ipv4 ip; struct tcp tcp; u8 options[20]; } __attribute__((packed));

static inline u16 fold(u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

SEC("xdp") int prog(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct syn *syn = data;
	if ((void *)(syn + 1) > end)
		return XDP_PASS;
	/* The frame is answered again and again: put the question back. */
	syn->tcp.flags = 0x02;
	syn->tcp.data_offset = 0xa0;
	*(u32 *)syn->options = 0xb4050402;
	if (syn->eth.proto != bswap16(0x0800) || syn->ip.protocol != 6)
		return XDP_PASS;
	long cookie = raw_gen_syncookie(&syn->ip, &syn->tcp, 40);
	if (cookie < 0)
		return XDP_DROP;
	struct eth eth = syn->eth;
	__builtin_memcpy(syn->eth.dst, eth.src, 6);
	__builtin_memcpy(syn->eth.src, eth.dst, 6);
	u32 saddr = syn->ip.saddr, daddr = syn->ip.daddr;
	syn->ip.saddr = daddr;
	syn->ip.daddr = saddr;
	syn->ip.total_length = bswap16(44);
	syn->ip.id = 0;
	syn->ip.ttl = 64;
	syn->ip.checksum = 0;
	u32 *words = (u32 *)&syn->ip;
	syn->ip.checksum = fold((u64)words[0] + words[1] + words[2] + words[3] + words[4]);
	u16 source = syn->tcp.source;
	syn->tcp.source = syn->tcp.dest;
	syn->tcp.dest = source;
	syn->tcp.ack = bswap32(bswap32(syn->tcp.seq) + 1);
	syn->tcp.seq = bswap32((u32)cookie);
	syn->tcp.data_offset = 0x60;
	syn->tcp.flags = 0x12;
	syn->tcp.window = bswap16(64240);
	syn->tcp.checksum = 0;
	words = (u32 *)&syn->tcp;
	u64 sum = (u64)words[0] + words[1] + words[2] + words[3] + words[4] + words[5];
	syn->tcp.checksum = fold(sum + saddr + daddr + bswap16(24) + bswap16(6));
	adjust_tail(ctx, 0);
	return XDP_TX;
}
