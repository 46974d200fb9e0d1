/* consumer-jit-run/jit-rwx/exact */
#if defined(__x86_64__)
static const unsigned char code[] = {0xc3}; /* return */
#elif defined(__aarch64__)
static const unsigned char code[] = {0xc0, 0x03, 0x5f, 0xd6};
#else
static const unsigned char code[] = {0x82, 0x80};
#endif

int main(void)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *const window = three_pages(page, PROT_READ | PROT_WRITE | PROT_EXEC);
	int status = -1;

	seal(window, 3 * page);
	if (need(fork(), "fork") == 0) {
		for (int i = 0; i < 3; i++) {
			char *const at = window + i * page;

			memcpy(at, code, sizeof(code));
			__builtin___clear_cache(at, at + sizeof(code));
			((void (*)(void))(unsigned long)at)();
		}
		_exit(0);
	}
	wait(&status);
	demand(status == 0, "code is written into sealed memory, and runs");
	stays_sealed(window, page);
	return broken;
}
