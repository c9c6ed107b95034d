/* What the C twins need of the kernel's headers, so that clang alone can compile them. */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

enum { XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX };

struct xdp_md {
	u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index;
};

struct eth {
	u8 dst[6], src[6];
	u16 proto;
};

struct ipv4 {
	u8 version_ihl, tos;
	u16 total_length, id, fragment;
	u8 ttl, protocol;
	u16 checksum;
	u32 saddr, daddr;
};

struct tcp {
	u16 source, dest;
	u32 seq, ack;
	u8 data_offset, flags;
	u16 window, checksum, urgent;
};

#define SEC(name) __attribute__((section(name), used))
#define inline inline __attribute__((always_inline))
#define bswap16 __builtin_bswap16
#define bswap32 __builtin_bswap32

static void *(*map_lookup)(void *map, const void *key) = (void *)1;
static long (*map_update)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static u64 (*ktime_get_ns)(void) = (void *)5;
static u32 (*get_prandom_u32)(void) = (void *)7;
static u64 (*ktime_get_coarse_ns)(void) = (void *)160;

/* A map is a symbol: the loader puts its descriptor where the symbol is used. */
struct map { int unused; };

static inline int is_syn(void *data, void *end, struct ipv4 **ip_out, struct tcp **tcp_out)
{
	struct eth *eth = data;
	if ((void *)(eth + 1) > end || eth->proto != bswap16(0x0800))
		return 0;
	struct ipv4 *ip = (void *)(eth + 1);
	if ((void *)(ip + 1) > end || ip->protocol != 6)
		return 0;
	u8 options = ((ip->version_ihl & 15) << 2) - sizeof(*ip);
	if (options > 40)
		return 0;
	struct tcp *tcp = (void *)(ip + 1) + options;
	if ((void *)(tcp + 1) > end || (tcp->flags & 0x12) != 0x02)
		return 0;
	*ip_out = ip;
	*tcp_out = tcp;
	return 1;
}
