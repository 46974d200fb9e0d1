/* proc-mem-write-traced/anon-r/exact */
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <fcntl.h>

static int held;

/* A child with the sealed memory; it looks at its seals when it is told to go on. */
static pid_t child_with(char *window, size_t page)
{
	int go[2];
	char c;
	pid_t child;

	need(pipe(go), "pipe");
	child = (pid_t)need(fork(), "fork");
	if (child == 0) {
		close(go[1]);
		(void)!read(go[0], &c, 1);
		stays_sealed(window, page);
		fflush(stdout);
		_exit(broken);
	}
	close(go[0]);
	held = go[1];
	return child;
}

int main(void)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *const window = three_pages(page, PROT_READ);
	char name[32];
	int mem, status = -1;
	pid_t child;

	seal(window, 3 * page);
	child = child_with(window, page);
	need(ptrace(PTRACE_SEIZE, child, 0, 0), "PTRACE_SEIZE");
	need(ptrace(PTRACE_INTERRUPT, child, 0, 0), "PTRACE_INTERRUPT");
	waitpid(child, &status, __WALL);
	snprintf(name, sizeof(name), "/proc/%d/mem", (int)child);
	mem = (int)need(open(name, O_RDWR), name);
	tell("pwrite", pwrite(mem, "sealed?", 8, (long)window)); /* nothing is promised */
	need(ptrace(PTRACE_DETACH, child, 0, 0), "PTRACE_DETACH");
	close(held);
	waitpid(child, &status, __WALL);
	demand(status == 0, "the seal of the child's memory stays");
	return broken;
}
