/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "sysfs.h"

#include <fcntl.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <unistd.h>

size_t read_file(const char *path, char *into, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, into, size - 1);

	if (fd >= 0)
		close(fd);
	if (n < 0)
		n = 0;
	while (n > 0 && into[n - 1] == '\n')
		n--;
	into[n] = '\0';
	return (size_t)n;
}

/*
 * A port is announced before its name is known; the name comes with a "change" uevent of its own
 * (drivers/char/virtio_console.c, VIRTIO_CONSOLE_PORT_NAME), so sysfs is looked at again after each event.
 */
int open_uevents(void)
{
	struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = 1};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);

	if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		close(fd);
		fd = -1;
	}
	return fd;
}
