/* load: sends paced UDP packets over lo to a socket of its own, and counts what arrives.
 *
 * One thread sends and receives, so that the whole load stays on one CPU. Each packet carries
 * its number and the time it was sent, so loss, order and latency are exact. Prints one JSON
 * object. Times are CLOCK_MONOTONIC nanoseconds.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <linux/udp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH 64
#define HEADERS 28 /* IPv4 and UDP */
#define SECOND 1000000000LL
#define MOST 20000000
#define MOST_BYTES 65507 /* of one datagram */

struct mark {
	int64_t number, sent_at;
};

static int64_t rate = 1000, length = 64, flows = 1, row = 1, window = MOST, port = 9999, patience = SECOND;
static double seconds = 1;
static int polite; /* sleep instead of spinning: for one CPU, or virtual time */
static int64_t drain_every = 1000000;
static int64_t *latency, sent, received, reordered, duplicates, highest = -1, overflow, last_receipt;

static int64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * SECOND + t.tv_nsec;
}

/* Appends one control message; the caller has made room. */
static void attach(struct msghdr *header, int level, int type, const void *value, size_t size)
{
	struct cmsghdr *c = (void *)((char *)header->msg_control + header->msg_controllen);
	c->cmsg_level = level;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(size);
	memcpy(CMSG_DATA(c), value, size);
	header->msg_controllen += CMSG_SPACE(size);
}

/* Sends the next `n` packets; the flows, from 127.1.0.0 on, take turns, `row` packets each.
 *
 * Those of one row are sent in one piece, which the kernel cuts up before it queues them (UDP_SEGMENT in
 * udp(7)). Sent one by one, even by sendmmsg, they cost more than what is measured: the sender would be the limit.
 */
static void send_some(int fd, int64_t n, int64_t total)
{
	static char bytes[BATCH * 65536], control[BATCH][CMSG_SPACE(sizeof(struct in_pktinfo)) + CMSG_SPACE(2)];
	static struct iovec part[BATCH];
	static struct mmsghdr message[BATCH];
	uint16_t size = length - HEADERS;
	int64_t at = now(), most = MOST_BYTES / size, next = 0;
	int pieces = 0;
	if (n > BATCH)
		n = BATCH;
	if (n > total - sent)
		n = total - sent;
	for (int64_t i = 0; i < n; i++)
		memcpy(bytes + i * size, &(struct mark){sent + i, at}, sizeof(struct mark));
	while (next < n) {
		int64_t many = row - (sent + next) % row;
		if (many > n - next)
			many = n - next;
		if (many > most)
			many = most;
		struct msghdr *header = &message[pieces].msg_hdr;
		part[pieces] = (struct iovec){bytes + next * size, many * size};
		*header = (struct msghdr){.msg_iov = &part[pieces], .msg_iovlen = 1, .msg_control = control[pieces]};
		struct in_pktinfo info = {.ipi_spec_dst.s_addr = htonl(0x7f010000 + (sent + next) / row % flows)};
		if (flows > 1)
			attach(header, IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
		if (many > 1)
			attach(header, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof size);
		next += many;
		pieces++;
	}
	int done = sendmmsg(fd, message, pieces, 0);
	if (done < 0)
		err(1, "sendmmsg");
	for (int i = 0; i < done; i++)
		sent += part[i].iov_len / size;
}

/* Receives all that has arrived. */
static void drain(int fd)
{
	static char bytes[BATCH][sizeof(struct mark)], control[BATCH][CMSG_SPACE(4)];
	static struct iovec part[BATCH];
	static struct mmsghdr message[BATCH];
	int n;
	do {
		for (int i = 0; i < BATCH; i++) {
			part[i] = (struct iovec){bytes[i], sizeof bytes[i]};
			message[i].msg_hdr = (struct msghdr){.msg_iov = &part[i], .msg_iovlen = 1,
				.msg_control = control[i], .msg_controllen = sizeof control[i]};
		}
		n = recvmmsg(fd, message, BATCH, MSG_DONTWAIT, NULL);
		int64_t at = now();
		for (int i = 0; i < n; i++) {
			struct mark *mark = (struct mark *)bytes[i];
			if (latency[mark->number] >= 0) {
				duplicates++;
				continue;
			}
			latency[mark->number] = at - mark->sent_at;
			reordered += mark->number < highest;
			if (mark->number > highest)
				highest = mark->number;
			received++;
			last_receipt = at;
			struct cmsghdr *c = CMSG_FIRSTHDR(&message[i].msg_hdr);
			if (c && c->cmsg_type == SO_RXQ_OVFL)
				memcpy(&overflow, CMSG_DATA(c), 4);
		}
	} while (n == BATCH);
}

static void rest(int fd, int64_t until)
{
	int64_t left = until - now();
	if (left <= 0)
		return;
	if (!polite) {
#if defined(__x86_64__)
		__builtin_ia32_pause(); /* yield the core to its other thread, which may be the subject's */
#endif
		return;
	}
	struct timespec t = {left / SECOND, left % SECOND};
	ppoll(&(struct pollfd){fd, POLLIN, 0}, 1, &t, NULL);
}

static int ascending(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return (x > y) - (x < y);
}

/* The latencies of those of packets `from` to `to` that arrived, sorted; returns how many. */
static int64_t sorted(int64_t *into, int64_t from, int64_t to)
{
	int64_t n = 0;
	for (int64_t i = from; i < to; i++)
		if (latency[i] >= 0)
			into[n++] = latency[i];
	qsort(into, n, sizeof *into, ascending);
	return n;
}

int main(int argc, char **argv)
{
	for (int c; (c = getopt(argc, argv, "r:l:f:n:t:w:p:d:g:s")) != -1;) switch (c) {
		case 'r': rate = atoll(optarg); break;      /* packets/s; 0: as many as possible */
		case 'l': length = atoll(optarg); break;    /* bytes of an IP packet */
		case 'f': flows = atoll(optarg); break;
		case 'n': row = atoll(optarg); break;       /* packets of a flow before the next flow's turn */
		case 't': seconds = atof(optarg); break;
		case 'w': window = atoll(optarg); break;    /* the most packets on their way at once */
		case 'p': port = atoll(optarg); break;
		case 'd': drain_every = atoll(optarg); break; /* ns between looks for packets to receive, while sending */
		case 'g': patience = atoll(optarg); break;  /* at the end, after this time (ns) without a receipt the rest is lost */
		case 's': polite = 1; break;
		default: errx(2, "usage: load -r RATE -l BYTES -f FLOWS [-n ROW] -t SECONDS [-w WINDOW] [-p PORT] [-d NS] [-g NS] [-s]");
	}
	if (length < HEADERS + (int64_t)sizeof(struct mark) || length > 65535)
		errx(2, "a packet has 44 to 65535 bytes");
	int64_t total = rate ? rate * seconds : MOST;
	latency = malloc(total * 8);
	memset(latency, -1, total * 8);

	struct sockaddr_in here = {AF_INET, htons(port), {htonl(INADDR_LOOPBACK)}, {0}};
	int in = socket(AF_INET, SOCK_DGRAM, 0), out = socket(AF_INET, SOCK_DGRAM, 0), one = 1, size = 64 << 20;
	setsockopt(in, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
	setsockopt(in, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
	setsockopt(in, SOL_SOCKET, SO_RXQ_OVFL, &one, sizeof one);
	if (bind(in, (void *)&here, sizeof here) || connect(out, (void *)&here, sizeof here))
		err(1, "port %d", (int)port);

	int64_t start = now(), end = start + seconds * SECOND, behind = 0, drained = start, at = start;
	while (sent < total && (rate || at < end)) {
		int64_t allowed = rate ? (at - start) * (double)rate / SECOND + 1 : total;
		if (allowed > total)
			allowed = total;
		if (allowed - sent > behind && rate)
			behind = allowed - sent;
		if (allowed > received + window)
			allowed = received + window;
		if (sent < allowed)
			send_some(out, allowed - sent, total);
		if (polite || at >= drained + drain_every || sent == received + window) {
			drain(in);
			drained = at;
		}
		rest(in, sent < received + window && rate ? start + (int64_t)(sent * (double)SECOND / rate) : at + SECOND);
		at = now();
	}
	double sending = (now() - start) / 1e9;
	int64_t in_time = received;
	last_receipt = now();
	while (received < sent && now() < last_receipt + patience) {
		rest(in, last_receipt + patience);
		drain(in);
	}

	int64_t *order = malloc((sent + 1) * 8);
	int64_t late = sorted(order, sent * 9 / 10, sent);
	int64_t end_p50 = late ? order[late / 2] : -1;
	int64_t n = sorted(order, 0, sent);
	double sum = 0;
	for (int64_t i = 0; i < n; i++)
		sum += order[i];
	if (!n)
		order[n++] = -1;
	printf("{\"sent\": %lld, \"received\": %lld, \"received_while_sending\": %lld, \"duplicates\": %lld, "
	       "\"reordered\": %lld, \"receiver_overflow\": %lld, \"seconds\": %.6f, \"behind\": %lld, "
	       "\"mean\": %.1f, \"min\": %lld, \"p50\": %lld, \"p99\": %lld, \"p999\": %lld, \"max\": %lld, \"end_p50\": %lld}\n",
	       (long long)sent, (long long)received, (long long)in_time, (long long)duplicates,
	       (long long)reordered, (long long)overflow, sending, (long long)behind,
	       sum / n, (long long)order[0], (long long)order[n / 2], (long long)order[n * 99 / 100],
	       (long long)order[n * 999 / 1000], (long long)order[n - 1], (long long)end_p50);
}
