/* accept QUEUE [batch]: the usual libnetfilter_queue loop, which accepts every packet.
 *
 * One verdict per packet, as in the library's own example (utils/nfqnl_test.c); with `batch`,
 * one NFQNL_MSG_VERDICT_BATCH for all that could be read without waiting.
 */
#include "queue.h"

static int in_batches;
static uint32_t last;
static int unanswered;

static int on_packet(struct nfq_q_handle *queue, struct nfgenmsg *header, struct nfq_data *data, void *context)
{
	(void)header, (void)context;
	taken++;
	if (!in_batches)
		return nfq_set_verdict(queue, packet_id(data), NF_ACCEPT, 0, NULL);
	last = packet_id(data);
	unanswered++;
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 2)
		errx(2, "usage: accept QUEUE [batch]");
	in_batches = argc > 2;
	struct nfq_q_handle *queue;
	struct nfq_handle *handle = bind_queue(atoi(argv[1]), on_packet, &queue);
	while (!stopped) {
		int flags = unanswered && unanswered < 64 ? MSG_DONTWAIT : 0;
		int size = unanswered < 64 ? recv(nfq_fd(handle), message, sizeof message, flags) : -1;
		if (size >= 0)
			nfq_handle_packet(handle, message, size);
		else if (unanswered) {
			nfq_set_verdict_batch(queue, last, NF_ACCEPT);
			unanswered = 0;
		}
	}
	return report();
}
