/* hold QUEUE MILLISECONDS [gso]: every packet waits this long, then goes on; the usual way in C.
 *
 * A ring of packet ids and times (all holds are equal, so it is in order), a timerfd for the
 * first of them, poll over both, one verdict per packet. With `gso`, TCP packets come uncut.
 */
#include "queue.h"
#include <poll.h>
#include <sys/timerfd.h>
#include <time.h>

#define SECOND 1000000000LL

static struct {
	int64_t at;
	uint32_t id;
} ring[ROOM];
static uint64_t head, tail;
static int64_t hold;

static int64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * SECOND + t.tv_nsec;
}

static int on_packet(struct nfq_q_handle *queue, struct nfgenmsg *header, struct nfq_data *data, void *context)
{
	(void)queue, (void)header, (void)context;
	taken++;
	ring[tail % ROOM].at = now() + hold;
	ring[tail++ % ROOM].id = packet_id(data);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 3)
		errx(2, "usage: hold QUEUE MILLISECONDS [gso]");
	hold = atof(argv[2]) * 1000000;
	struct nfq_q_handle *queue;
	struct nfq_handle *handle = bind_queue(atoi(argv[1]), on_packet, &queue);
	if (argc > 3 && nfq_set_queue_flags(queue, NFQA_CFG_F_GSO, NFQA_CFG_F_GSO) < 0)
		err(1, "nfq_set_queue_flags");
	int timer = timerfd_create(CLOCK_MONOTONIC, 0);
	struct pollfd ready[] = {{nfq_fd(handle), POLLIN, 0}, {timer, POLLIN, 0}};
	while (!stopped) {
		if (poll(ready, 2, -1) < 0)
			continue;
		if (ready[0].revents) {
			int size;
			for (int i = 0; i < 64 && (size = recv(ready[0].fd, message, sizeof message, MSG_DONTWAIT)) >= 0; i++)
				nfq_handle_packet(handle, message, size);
		}
		while (head < tail && ring[head % ROOM].at <= now())
			nfq_set_verdict(queue, ring[head++ % ROOM].id, NF_ACCEPT, 0, NULL);
		struct itimerspec next = {0};
		if (head < tail) {
			next.it_value.tv_sec = ring[head % ROOM].at / SECOND;
			next.it_value.tv_nsec = ring[head % ROOM].at % SECOND;
		}
		timerfd_settime(timer, TFD_TIMER_ABSTIME, &next, NULL);
	}
	return report();
}
