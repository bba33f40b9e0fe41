/* One object of the build. */
#include "unit.h"

static unsigned long NAME_sum(const void *from, size_t bytes)
{
	const unsigned char *byte = from;
	unsigned long hash = 14695981039346656037UL;

	while (bytes--) {
		hash ^= *byte++;
		hash *= 1099511628211UL;
	}
	return hash;
}

static int NAME_insert(struct list_head *head, struct item *new)
{
	struct list_head *at;

	new->key = NAME_sum(new->name, sizeof(new->name));
	list_for_each(at, head) {
		struct item *other = container_of(at, struct item, link);

		if (other->key == new->key)
			return -17;
		if (other->key > new->key)
			break;
	}
	list_add(&new->link, at->prev);
	return 0;
}

static struct item *NAME_find(struct list_head *head, unsigned long key)
{
	struct list_head *at;

	list_for_each(at, head) {
		struct item *item = container_of(at, struct item, link);

		if (item->key == key)
			return item;
	}
	return NULL;
}

#define MIX(n)                                                                         \
	unsigned long NAME_mix_##n(unsigned long *words, size_t count)                  \
	{                                                                               \
		unsigned long state = n;                                                \
		for (size_t i = 0; i < count; i++) {                                    \
			state ^= words[i] << (n % 13 + 1);                              \
			state = (state >> (n % 7 + 1)) | (state << (63 - n % 7));       \
			switch (state % 5) {                                            \
			case 0: words[i] += state; break;                               \
			case 1: words[i] ^= state * 3; break;                           \
			case 2: words[i] -= state >> 2; break;                          \
			default: words[i] = ~words[i];                                  \
			}                                                               \
		}                                                                       \
		return state;                                                           \
	}
MIX(1) MIX(2) MIX(3) MIX(4) MIX(5) MIX(6) MIX(7) MIX(8)

const struct operations NAME_operations = {
	.insert = NAME_insert,
	.find = NAME_find,
	.sum = NAME_sum,
};
