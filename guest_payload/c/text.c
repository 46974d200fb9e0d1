/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "payload.h"
#include "sys.h"

size_t read_text(const char *path, char *text, size_t size)
{
	int fd = (int)sys(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
	size_t have = 0;
	ssize_t got;

	while (fd >= 0 && have < size - 1 && (got = read(fd, text + have, size - 1 - have)) > 0)
		have += (size_t)got;
	text[have] = 0;
	if (fd >= 0)
		close(fd);
	return have;
}

unsigned long number_in(const char *path, const char *key)
{
	char text[8192];
	const char *at;

	if (!read_text(path, text, sizeof(text)) || !(at = strstr(text, key)))
		return 0;
	return strtoul(at + strlen(key), NULL, 10);
}
