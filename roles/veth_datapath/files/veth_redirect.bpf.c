// SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)
//
// The tc programs of the variant veth-ebpf. They carry a pod's packets past routing and netfilter of the node:
//
//   cable_ingress      on the cable: a packet for this node's pod goes straight into the pod (bpf_redirect_peer)
//   pod_ingress        on the pod's host end: a packet that leaves by the cable, or by WireGuard's device, goes straight
//                      out of it, the neighbour's address filled in by the kernel (bpf_redirect_neigh)
//   tunnel_ingress     on WireGuard's device: as cable_ingress, for packets that come without an Ethernet header
//   decrypted_ingress  on the cable, with ESP: what XFRM decrypted comes in once more, and goes to the pod's host end
//                      (bpf_redirect_neigh), for bpf_redirect_peer keeps the mark of XFRM on it, and the pod's own
//                      policies drop it, on kernels without commit c4327229; on others cable_ingress takes its place
//
// Where a packet goes is the node's own routing table's to say (bpf_fib_lookup); what does not go between these two
// devices is left to the stack untouched. The TTL stays as it is: to the packet the node is no hop.
//
// Needs Linux 5.10, and no header but the kernel's own, so that any clang of a distribution compiles it.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>

#define SECTION(name) __attribute__((section(name), used))
#define ALWAYS_INLINE inline __attribute__((always_inline))
#define MAP_UINT(name, value) int(*name)[value]
#define MAP_TYPE(name, value) value *name

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define IPV4_ON_THE_WIRE __builtin_bswap16(ETH_P_IP)
#else
#define IPV4_ON_THE_WIRE ETH_P_IP
#endif
#define IPV4_FAMILY 2 /* AF_INET; its header would pull in the C library's */

/* Helpers by their number in the kernel's interface, so that no libbpf header of any version is needed. */
static void *(*const map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*const change_head)(struct __sk_buff *skb, __u32 room, __u64 flags) = (void *)43;
static long (*const fib_lookup)(void *context, struct bpf_fib_lookup *query, int length, __u32 flags) = (void *)69;
static long (*const redirect_neigh)(__u32 device, struct bpf_redir_neigh *next, int length, __u64 flags) = (void *)152;
static long (*const redirect_peer)(__u32 device, __u64 flags) = (void *)155;

/* The devices of this node, written when the programs are attached. */
enum { POD_HOST_END, WAY_OUT, DEVICES };
struct {
	MAP_UINT(type, BPF_MAP_TYPE_ARRAY);
	MAP_UINT(max_entries, DEVICES);
	MAP_TYPE(key, __u32);
	MAP_TYPE(value, __u32);
} veth_devices SECTION(".maps");

/* Packets per program: redirected (hits), and left to the stack (passed). */
enum {
	CABLE_HITS,
	CABLE_PASSED,
	POD_HITS,
	POD_PASSED,
	TUNNEL_HITS,
	TUNNEL_PASSED,
	DECRYPTED_HITS,
	DECRYPTED_PASSED,
	COUNTERS
};
struct {
	MAP_UINT(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	MAP_UINT(max_entries, COUNTERS);
	MAP_TYPE(key, __u32);
	MAP_TYPE(value, __u64);
} veth_counters SECTION(".maps");

static ALWAYS_INLINE void count(__u32 counter)
{
	__u64 *value = map_lookup_elem(&veth_counters, &counter);

	if (value)
		*value += 1;
}

static ALWAYS_INLINE __u32 device(__u32 which)
{
	__u32 *index = map_lookup_elem(&veth_devices, &which);

	return index ? *index : 0;
}

/* Return the device by which the routing table sends this packet on, 0 when that is not for us to do. */
static ALWAYS_INLINE __u32 route_ip(struct __sk_buff *skb, struct iphdr *ip, struct bpf_fib_lookup *query)
{
	long answer;

	query->family = IPV4_FAMILY;
	query->ipv4_src = ip->saddr;
	query->ipv4_dst = ip->daddr;
	query->ifindex = skb->ifindex;
	answer = fib_lookup(skb, query, sizeof(*query), 0);
	/*
	 * The kernel counts the Ethernet header that a packet came with. So a packet as long as the MTU of a tunnel, which has
	 * none, is called too long for it, unless it is one of several that are cut later. Pods have the MTU of their way out.
	 */
	if (answer == BPF_FIB_LKUP_RET_FRAG_NEEDED && query->ifindex == device(WAY_OUT))
		return query->ifindex;
	/* Without a neighbour yet the route is known all the same, and the kernel finds the neighbour. */
	if (answer != BPF_FIB_LKUP_RET_SUCCESS && answer != BPF_FIB_LKUP_RET_NO_NEIGH)
		return 0;
	return query->ifindex;
}

/* The same for a packet that begins with its Ethernet header. */
static ALWAYS_INLINE __u32 route(struct __sk_buff *skb, struct bpf_fib_lookup *query)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ethhdr *ethernet = data;
	struct iphdr *ip = (void *)(ethernet + 1);

	if ((void *)(ip + 1) > end || ethernet->h_proto != IPV4_ON_THE_WIRE)
		return 0;
	return route_ip(skb, ip, query);
}

/* The same for one that begins with its IP header. */
static ALWAYS_INLINE __u32 route_bare(struct __sk_buff *skb, struct bpf_fib_lookup *query)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data;

	if ((void *)(ip + 1) > end || skb->protocol != IPV4_ON_THE_WIRE)
		return 0;
	return route_ip(skb, ip, query);
}

/* Put an Ethernet header before a packet that has none. Its addresses stay zero: nothing on the way into the pod looks. */
static ALWAYS_INLINE int add_ethernet(struct __sk_buff *skb)
{
	void *data, *end;
	struct ethhdr *ethernet;

	if (change_head(skb, sizeof(*ethernet), 0))
		return -1;
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	ethernet = data;
	if ((void *)(ethernet + 1) > end)
		return -1;
	ethernet->h_proto = IPV4_ON_THE_WIRE;
	return 0;
}

SECTION("classifier/cable_ingress") int cable_ingress(struct __sk_buff *skb)
{
	struct bpf_fib_lookup query = {};
	__u32 to = route(skb, &query);

	if (!to || to != device(POD_HOST_END)) {
		count(CABLE_PASSED);
		return TC_ACT_OK;
	}
	count(CABLE_HITS);
	return redirect_peer(to, 0);
}

SECTION("classifier/pod_ingress") int pod_ingress(struct __sk_buff *skb)
{
	struct bpf_fib_lookup query = {};
	struct bpf_redir_neigh next = {};
	__u32 to = route(skb, &query);

	if (!to || to != device(WAY_OUT)) {
		count(POD_PASSED);
		return TC_ACT_OK;
	}
	count(POD_HITS);
	next.nh_family = IPV4_FAMILY;
	next.ipv4_nh = query.ipv4_dst; /* the gateway, where the route has one */
	return redirect_neigh(to, &next, sizeof(next), 0);
}

SECTION("classifier/tunnel_ingress") int tunnel_ingress(struct __sk_buff *skb)
{
	struct bpf_fib_lookup query = {};
	__u32 to = route_bare(skb, &query);

	if (!to || to != device(POD_HOST_END)) {
		count(TUNNEL_PASSED);
		return TC_ACT_OK;
	}
	if (add_ethernet(skb))
		return TC_ACT_SHOT;
	count(TUNNEL_HITS);
	return redirect_peer(to, 0);
}

SECTION("classifier/decrypted_ingress") int decrypted_ingress(struct __sk_buff *skb)
{
	struct bpf_fib_lookup query = {};
	struct bpf_redir_neigh next = {};
	__u32 to = route(skb, &query);

	if (!to || to != device(POD_HOST_END)) {
		count(DECRYPTED_PASSED);
		return TC_ACT_OK;
	}
	count(DECRYPTED_HITS);
	next.nh_family = IPV4_FAMILY;
	next.ipv4_nh = query.ipv4_dst;
	return redirect_neigh(to, &next, sizeof(next), 0);
}

/* The kernel lends bpf_fib_lookup to GPL programs only; of this file's two licences it is told the one it asks for. */
char kernel_license[] SECTION("license") = "GPL";
