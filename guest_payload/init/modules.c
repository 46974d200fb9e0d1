/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "modules.h"
#include "log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MODULES "/modules"

static int visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

/* The host numbered the modules in loading order: NN-name.ko. */
void load_modules(void)
{
	struct dirent **entries;
	int count = scandir(MODULES, &entries, visible, alphasort);

	for (int i = 0; i < count; i++) {
		char path[300];
		int fd;

		snprintf(path, sizeof(path), MODULES "/%s", entries[i]->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST))
			note_errno("load", path);
		if (fd >= 0)
			close(fd);
		free(entries[i]);
	}
	if (count >= 0)
		free(entries);
}
