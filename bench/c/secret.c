/* secret QUEUES: every secret for which the kernel's hash explains in which queues packets were found.
 *
 * Standard input has a line for each packet: the three words that are hashed, and its queue, counted from 0. All of the
 * 2^32 secrets are tried, in a minute or so. The hash is jhash_3words in include/linux/jhash.h of the kernel.
 */
#include <err.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define MOST 4096

static uint32_t words[MOST][3], queue[MOST];

static uint32_t rotate(uint32_t word, int by)
{
	return word << by | word >> (32 - by);
}

static uint32_t hash(const uint32_t *word, uint32_t secret)
{
	uint32_t start = secret + 0xdeadbeef + (3 << 2);
	uint32_t a = word[0] + start, b = word[1] + start, c = word[2] + start;

	c = (c ^ b) - rotate(b, 14);
	a = (a ^ c) - rotate(c, 11);
	b = (b ^ a) - rotate(a, 25);
	c = (c ^ b) - rotate(b, 16);
	a = (a ^ c) - rotate(c, 4);
	b = (b ^ a) - rotate(a, 14);
	return (c ^ b) - rotate(b, 24);
}

int main(int argc, char **argv)
{
	uint64_t queues = argc == 2 ? strtoul(argv[1], NULL, 10) : 0;
	int count = 0;

	if (!queues)
		errx(2, "usage: secret QUEUES < FILE");
	while (count < MOST && scanf("%u %u %u %u", words[count], words[count] + 1, words[count] + 2, queue + count) == 4)
		count++;
	for (uint64_t secret = 0; secret < 1ull << 32; secret++) {
		int nth = 0;
		while (nth < count && (hash(words[nth], secret) * queues) >> 32 == queue[nth])
			nth++;
		if (nth == count)
			printf("%llu\n", (unsigned long long)secret);
	}
	return 0;
}
