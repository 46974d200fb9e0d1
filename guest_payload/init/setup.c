/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "setup.h"
#include "log.h"
#include "modules.h"
#include "mounts.h"
#include "resources.h"

#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

static const struct {
	const char *path, *value;
} settings[] = {
	/* The payload marks each probe in the kernel's log; the default limit of a few lines would lose marks. */
	{"/proc/sys/kernel/printk_devkmsg", "on\n"},
};

static void apply_settings(void)
{
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
		int fd = open(settings[i].path, O_WRONLY | O_CLOEXEC);

		if (fd < 0 || write(fd, settings[i].value, strlen(settings[i].value)) < 0)
			note_errno("set", settings[i].path);
		if (fd >= 0)
			close(fd);
	}
	/* However many processes a payload starts, PID 1 must still get its turn to end them. */
	if (setpriority(PRIO_PROCESS, 0, -20) < 0)
		note_errno("priority", "-20");
}

void set_up_machine(void)
{
	struct rlimit none = {0, 0};

	/* Probes die by the hundred on purpose; their cores would fill the work directory. */
	if (setrlimit(RLIMIT_CORE, &none) < 0)
		note_errno("limit", "core");
	/* What loses its parent becomes our child, so that we can end it; PID 1 has that by nature. */
	if (role != ROLE_INIT && prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
		note_errno("prctl", "subreaper");
	if (role == ROLE_VISITOR)
		return;
	mount_all();
	apply_settings();
	load_modules();
	provide_resources();
}
