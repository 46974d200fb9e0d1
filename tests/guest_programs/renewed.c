/* What two copies of one saved guest must not share: prints sixteen random bytes and the time. */
#include <stdio.h>
#include <sys/random.h>
#include <time.h>

int main(void)
{
	unsigned char bytes[16];

	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		return 1;
	for (unsigned i = 0; i < sizeof(bytes); i++)
		printf("%02x", bytes[i]);
	printf(" %lld\n", (long long)time(NULL));
	return 0;
}
