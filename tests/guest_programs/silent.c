/* A PID 1 that does nothing at all, for a guest that boots and never says hello. */
#include <unistd.h>

int main(void)
{
	for (;;)
		pause();
}
