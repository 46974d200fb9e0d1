/* PID 1 of a guest that is booted for one program: run it, with its output on the console, and end the machine. */
#include <stdio.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
	int status = -1;
	pid_t child;

	if (getpid() != 1)
		return 2;
	mkdir("/proc", 0555);
	mount("proc", "/proc", "proc", 0, NULL);
	chmod("/modules/00-test", 0755);
	child = fork();
	if (child == 0) {
		execl("/modules/00-test", "test", (char *)0);
		_exit(127);
	}
	waitpid(child, &status, 0);
	printf("once: status %d\n", status);
	fflush(stdout);
	sync();
	return reboot(RB_AUTOBOOT);
}
