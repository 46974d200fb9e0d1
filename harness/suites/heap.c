/* SPDX-License-Identifier: MIT */
/*
 * A heap that maps nothing. Tests of memory management look at what is mapped where they have just unmapped, and the C
 * library's own heap, which maps its blocks one by one, would be found there.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>

enum { HEAP = 64 << 20, ALIGN = 16 };

static _Alignas(4096) char heap[HEAP];
static size_t used;

/* In front of each block stands its size. What is freed is not used again. */
static void *take(size_t align, size_t size)
{
	size_t place, before;

	align = align < ALIGN ? ALIGN : align;
	do {
		before = __atomic_load_n(&used, __ATOMIC_RELAXED);
		place = (before + ALIGN + align - 1) / align * align;
		if (size > HEAP || place > HEAP - size) {
			errno = ENOMEM;
			return NULL;
		}
	} while (!__atomic_compare_exchange_n(&used, &before, place + size, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
	memcpy(heap + place - sizeof(size), &size, sizeof(size));
	return heap + place;
}

void *malloc(size_t size)
{
	return take(ALIGN, size);
}

void free(void *block)
{
	(void)block;
}

void *calloc(size_t count, size_t size)
{
	if (size && count > HEAP / size) {
		errno = ENOMEM;
		return NULL;
	}
	return take(ALIGN, count * size); /* fresh, and so all zero */
}

void *realloc(void *block, size_t size)
{
	void *fresh = take(ALIGN, size);
	size_t old = 0;

	if (fresh && block) {
		memcpy(&old, (char *)block - sizeof(old), sizeof(old));
		memcpy(fresh, block, old < size ? old : size);
	}
	return fresh;
}

void *aligned_alloc(size_t align, size_t size)
{
	return take(align, size);
}

void *memalign(size_t align, size_t size)
{
	return take(align, size);
}

int posix_memalign(void **block, size_t align, size_t size)
{
	*block = take(align, size);
	return *block ? 0 : ENOMEM;
}
