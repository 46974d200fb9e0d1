/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "machine.h"
#include "log.h"
#include "power.h"
#include "resources.h"
#include "sysfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PORTS "/sys/class/virtio-ports"
#define MODULES "/modules"

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

static void mount_all(void)
{
	if (role == ROLE_INIT)
		for (size_t i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++)
			mount_one(mounts[i].where, mounts[i].type, mounts[i].options);
	mount_one(work, "tmpfs", "mode=0755");
}

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

static int visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

/* The host numbered the modules in loading order: NN-name.ko. */
static void load_modules(void)
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

/* Fills in the device of the port so named, e.g. "/dev/vport0p1"; 0 when there is none (yet). */
static int find_port(const char *name, char *device, size_t size)
{
	DIR *ports = opendir(PORTS);
	struct dirent *entry;
	int found = 0;

	while (ports && !found && (entry = readdir(ports))) {
		char path[300], seen[128];

		snprintf(path, sizeof(path), PORTS "/%s/name", entry->d_name);
		found = visible(entry) && read_file(path, seen, sizeof(seen)) && !strcmp(seen, name);
		if (found)
			snprintf(device, size, "/dev/%s", entry->d_name);
	}
	if (ports)
		closedir(ports);
	return found;
}

int open_port(const char *name)
{
	char device[300], event[4096];
	/* A kernel without CONFIG_NET has no uevents to wait for: there the port is looked for every millisecond. */
	struct pollfd uevents = {.fd = open_uevents(), .events = POLLIN};
	int patience = uevents.fd < 0 ? 1 : 5000, waited = 0, told = 0, fd;

	while (!find_port(name, device, sizeof(device))) {
		if (poll(&uevents, 1, patience) == 0 && (waited += patience) >= 5000 && !told++)
			say("still waiting for the port %s: has this kernel virtio_console and virtio_pci?", name);
		while (recv(uevents.fd, event, sizeof(event), 0) > 0)
			;
	}
	if (uevents.fd >= 0)
		close(uevents.fd);
	fd = open(device, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		power_off("open %s: %s", device, strerror(errno));
	return fd;
}
