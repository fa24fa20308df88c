/* Binds one NFQUEUE as every example of libnetfilter_queue does, with room for bursts. */
#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <libnetfilter_queue/libnetfilter_queue.h>

#define ROOM 65536

static volatile sig_atomic_t stopped;
static int64_t taken;
static char message[ROOM + 4096]; /* a packet and its metadata */

static void stop(int signal)
{
	(void)signal;
	stopped = 1;
}

static struct nfq_handle *bind_queue(int number, nfq_callback *callback, struct nfq_q_handle **queue)
{
	struct sigaction action = {.sa_handler = stop}; /* no SA_RESTART: recv returns */
	sigaction(SIGINT, &action, NULL);
	struct nfq_handle *handle = nfq_open();
	if (!handle)
		err(1, "nfq_open");
	*queue = nfq_create_queue(handle, number, callback, NULL);
	if (!*queue)
		err(1, "queue %d", number);
	if (nfq_set_mode(*queue, NFQNL_COPY_PACKET, 0xffff) < 0 || nfq_set_queue_maxlen(*queue, 65535) < 0)
		err(1, "nfq_set_mode");
	int size = 16 << 20, fd = nfq_fd(handle);
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size))
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
	return handle;
}

static uint32_t packet_id(struct nfq_data *data)
{
	return ntohl(nfq_get_msg_packet_hdr(data)->packet_id);
}

static int report(void)
{
	printf("{\"taken\": %lld}\n", (long long)taken);
	return 0;
}
