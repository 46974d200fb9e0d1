/* What a probe's two processes cost when they do nothing: fork, exit, wait. The number of rounds is the argument. */
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	for (int left = argc > 1 ? atoi(argv[1]) : 0; left > 0; left--) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(0);
		if (pid < 0 || waitpid(pid, 0, 0) != pid)
			return 1;
	}
	return 0;
}
