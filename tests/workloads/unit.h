/* What every unit includes: lists, and a table of operations. */
#ifndef UNIT_H
#define UNIT_H

typedef unsigned long size_t;
#define NULL ((void *)0)
#define offsetof(type, member) __builtin_offsetof(type, member)
#define container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

struct list_head {
	struct list_head *next, *prev;
};

static inline void list_add(struct list_head *new, struct list_head *head)
{
	new->next = head->next;
	new->prev = head;
	head->next->prev = new;
	head->next = new;
}

static inline void list_del(struct list_head *entry)
{
	entry->next->prev = entry->prev;
	entry->prev->next = entry->next;
}

#define list_for_each(pos, head) for (pos = (head)->next; pos != (head); pos = pos->next)

struct item {
	struct list_head link;
	unsigned long key;
	unsigned char name[32];
};

struct operations {
	int (*insert)(struct list_head *, struct item *);
	struct item *(*find)(struct list_head *, unsigned long);
	unsigned long (*sum)(const void *, size_t);
};

#endif
