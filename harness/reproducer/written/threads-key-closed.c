/* thread-key-closed-madvise-dontneed/pkey-open-rw/exact */
#include <pthread.h>

static char *window;
static size_t page;
static long got, key;

#ifdef __x86_64__
static void set_rights(unsigned rights)
{
	unsigned now;

	__asm__ volatile(".byte 0x0f, 0x01, 0xee" : "=a"(now) : "c"(0) : "rdx");
	now = (now & ~(3u << 2 * key)) | rights << 2 * key;
	__asm__ volatile(".byte 0x0f, 0x01, 0xef" : : "a"(now), "c"(0), "d"(0));
}
#else
static void set_rights(unsigned rights)
{
	(void)rights;
	need(-1, "protection keys");
}
#endif

static void *discard(void *rights)
{
	set_rights((unsigned)(unsigned long)rights);
	errno = 0;
	got = syscall(SYS_madvise, window, 3 * page, 4 /* MADV_DONTNEED */);
	tell("madvise", got);
	broken |= got != -1 || errno != EPERM;
	return NULL;
}

int main(void)
{
	pthread_t thread;

	page = (size_t)sysconf(_SC_PAGESIZE);
	window = three_pages(page, PROT_READ | PROT_WRITE);
	key = need(syscall(SYS_pkey_alloc, 0, 0), "pkey_alloc");
	need(syscall(SYS_pkey_mprotect, window, 3 * page, PROT_READ | PROT_WRITE, key), "pkey_mprotect");
	seal(window, 3 * page);
	need(pthread_create(&thread, NULL, discard, (void *)2ul) ? -1 : 0, "pthread_create");
	pthread_join(thread, NULL);
	demand(!broken, "the thread that may not write is refused with EPERM");
	stays_sealed(window, page);
	return broken;
}
