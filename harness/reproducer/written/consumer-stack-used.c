/* consumer-stack-overflow/stack-guarded-mixed/above-first */
#include <sched.h>
#include <signal.h>

static char *guard;

static int use_stack(void *nothing)
{
	volatile char local[256];

	(void)nothing;
	for (size_t i = 0; i < sizeof(local); i++)
		local[i] = 1;
	_exit(0);
}

static int overflow(void *nothing)
{
	(void)nothing;
	*(volatile char *)guard = 1;
	_exit(0);
}

static int ends(int (*run)(void *), char *top)
{
	int status = -1;

	need(waitpid(need(clone(run, top, CLONE_VM | SIGCHLD, NULL), "clone"), &status, 0), "waitpid");
	return status;
}

int main(void)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);

	guard = mmap(NULL, 4 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	need(guard == MAP_FAILED ? -1 : 0, "mmap");
	need(mprotect(guard + page, 3 * page, PROT_READ | PROT_WRITE), "mprotect");
	seal(guard, page);
	demand(ends(use_stack, guard + 4 * page) == 0, "a thread runs on a stack whose guard is sealed");
	need(madvise(guard + page, 3 * page, MADV_DONTNEED), "madvise");
	demand(ends(use_stack, guard + 4 * page) == 0, "and another, when the pages were given back");
	demand(WTERMSIG(ends(overflow, guard + 4 * page)) == SIGSEGV, "what runs into the guard is ended by SIGSEGV");
	demand(syscall(SYS_munmap, guard, page) == -1 && errno == EPERM, "the guard is sealed");
	return broken;
}
