/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "port.h"
#include "log.h"
#include "power.h"
#include "sysfs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PORTS "/sys/class/virtio-ports"

/* Fills in the device of the port so named, e.g. "/dev/vport0p1"; 0 when there is none (yet). */
static int find_port(const char *name, char *device, size_t size)
{
	DIR *ports = opendir(PORTS);
	struct dirent *entry;
	int found = 0;

	while (ports && !found && (entry = readdir(ports))) {
		char path[300], seen[128];

		snprintf(path, sizeof(path), PORTS "/%s/name", entry->d_name);
		found = read_file(path, seen, sizeof(seen)) && !strcmp(seen, name);
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
