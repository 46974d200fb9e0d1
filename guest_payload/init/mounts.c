/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "mounts.h"
#include "log.h"

#include <errno.h>
#include <stddef.h>
#include <sys/mount.h>
#include <sys/stat.h>

static const struct {
	const char *where, *type, *options;
} mounts[] = {
	{"/proc", "proc", NULL},
	{"/sys", "sysfs", NULL},
	{"/dev", "devtmpfs", NULL},
	{"/dev/shm", "tmpfs", "mode=1777"},
	{"/tmp", "tmpfs", "mode=1777"},
};

static void mount_one(const char *where, const char *type, const char *options)
{
	if (mkdir(where, 0755) < 0 && errno != EEXIST)
		note_errno("mkdir", where);
	/* EBUSY: a kernel with CONFIG_DEVTMPFS_MOUNT may have been here first. */
	if (mount(type, where, type, 0, options) < 0 && errno != EBUSY)
		note_errno("mount", where);
}

void mount_all(void)
{
	if (role == ROLE_INIT)
		for (size_t i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++)
			mount_one(mounts[i].where, mounts[i].type, mounts[i].options);
	mount_one(work, "tmpfs", "mode=0755");
}
