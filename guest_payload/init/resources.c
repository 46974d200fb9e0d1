/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "resources.h"
#include "log.h"
#include "sysfs.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/swap.h>
#include <time.h>
#include <unistd.h>

#include <linux/fs.h>

#define HUGEPAGES "/proc/sys/vm/nr_hugepages"

enum { DEVICE_SECONDS = 10 }; /* for a disk to come: its driver probes it while we are already running */

/* The value of "NAME=value" on the kernel's command line; the last one counts. 0 when there is none. */
static int parameter(const char *name, char *into, size_t size)
{
	char line[4096], *rest = line;
	int found = 0;

	read_file("/proc/cmdline", line, sizeof(line));
	for (char *word; (word = strsep(&rest, " "));) {
		size_t length = strlen(name);

		if (strncmp(word, name, length) || word[length] != '=')
			continue;
		snprintf(into, size, "%s", word + length + 1);
		found = *into != '\0';
	}
	return found;
}

/* ------------------------------------------------------------------ huge pages */

static void provide_hugepages(const char *wanted)
{
	int fd = open(HUGEPAGES, O_WRONLY | O_CLOEXEC);
	char have[32];

	if (fd < 0 || write(fd, wanted, strlen(wanted)) < 0)
		note("huge pages: %s: %s", HUGEPAGES, strerror(errno));
	else if (read_file(HUGEPAGES, have, sizeof(have)) && atol(have) < atol(wanted))
		note("huge pages: only %s of %s fit into memory", have, wanted);
	if (fd >= 0)
		close(fd);
}

/* ------------------------------------------------------------------ swap */

static time_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

/* Disks by the beginning of their names: their driver in sysfs, and what it calls itself in /proc/devices. */
static const struct {
	const char *disk, *bus, *driver, *registered;
} drivers[] = {
	{.disk = "nvme", .bus = "/sys/bus", .driver = "/sys/bus/pci/drivers/nvme", .registered = " nvme"},
	{.disk = "vd", .bus = "/sys/bus", .driver = "/sys/bus/virtio/drivers/virtio_blk", .registered = " virtblk"},
};

/* Whether the kernel has a driver for a disk of this name. Those built in are there before PID 1 is, and modules have
 * been loaded by now: a driver that is not there will not come. Where the kernel does not tell, there may be one. */
static int may_come(const char *name)
{
	char devices[8192];

	for (size_t i = 0; i < sizeof(drivers) / sizeof(drivers[0]); i++) {
		if (strncmp(name, drivers[i].disk, strlen(drivers[i].disk)))
			continue;
		if (access(drivers[i].bus, F_OK) == 0)
			return access(drivers[i].driver, F_OK) == 0;
		if (read_file("/proc/devices", devices, sizeof(devices)))
			return strstr(devices, drivers[i].registered) != NULL;
	}
	return 1;
}

/* Open a device that may still be on its way. */
static int open_device(const char *path)
{
	/* Without CONFIG_NET there are no uevents to wait for: then it is looked for every millisecond. */
	struct pollfd uevents = {.fd = open_uevents(), .events = POLLIN};
	time_t until = now() + DEVICE_SECONDS;
	char event[4096];
	int fd;

	while ((fd = open(path, O_RDWR | O_CLOEXEC)) < 0 && errno == ENOENT && now() < until) {
		poll(&uevents, 1, uevents.fd < 0 ? 1 : 1000);
		while (recv(uevents.fd, event, sizeof(event), 0) > 0)
			;
		errno = ENOENT;
	}
	if (uevents.fd >= 0) {
		int reason = errno;

		close(uevents.fd);
		errno = reason;
	}
	return fd;
}

/* The first page of a swap area (include/linux/swap.h, union swap_header); its size is a page's, so only we know it. */
static int sign_swap(int fd)
{
	struct {
		uint32_t version, last_page, bad_pages;
	} info = {1, 0, 0};
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uint64_t bytes = 0;
	char *header;
	ssize_t wrote;

	if (ioctl(fd, BLKGETSIZE64, &bytes) < 0)
		return -1;
	info.last_page = (uint32_t)(bytes / page - 1);
	header = calloc(1, page);
	if (!header)
		return -1;
	memcpy(header + 1024, &info, sizeof(info));
	memcpy(header + page - 10, "SWAPSPACE2", 10);
	wrote = write(fd, header, page);
	free(header);
	return wrote == (ssize_t)page ? 0 : -1;
}

static void provide_swap(const char *name)
{
	char path[80];
	int fd;

	snprintf(path, sizeof(path), "/dev/%s", name);
	if (!may_come(name)) {
		note("swap: %s: this kernel has no driver for it", path);
		return;
	}
	fd = open_device(path);
	/* The signature is in the page cache of the device, which is where swapon reads it. */
	if (fd < 0 && errno == ENOENT)
		note("swap: %s did not come within %d s", path, DEVICE_SECONDS);
	else if (fd < 0 || sign_swap(fd) < 0 || swapon(path, 0) < 0)
		note("swap: %s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
}

static const struct {
	const char *parameter;
	void (*provide)(const char *value);
} resources[] = {
	{"sealmatrix.hugepages", provide_hugepages}, /* first: memory is in one piece yet */
	{"sealmatrix.swap", provide_swap},
};

void provide_resources(void)
{
	char value[64];

	for (size_t i = 0; i < sizeof(resources) / sizeof(resources[0]); i++)
		if (parameter(resources[i].parameter, value, sizeof(value)))
			resources[i].provide(value);
}
