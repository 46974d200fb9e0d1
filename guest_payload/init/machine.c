#define _GNU_SOURCE
#include "machine.h"
#include "program.h"
#include "resources.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#define PORTS "/sys/class/virtio-ports"
#define MODULES "/modules"

enum role role = ROLE_INIT;
const char *work = "/work";

static char notes[16][160];
static size_t note_count;

void say(const char *format, ...)
{
	char line[512] = "<1>sealmatrix: "; /* an alert: also quiet consoles show it */
	size_t level = 3, prefix = strlen(line);
	va_list args;
	int kmsg, n;

	va_start(args, format);
	n = vsnprintf(line + prefix, sizeof(line) - prefix - 1, format, args);
	va_end(args);
	n = (int)strlen(line);
	line[n++] = '\n';
	/* The kernel's log keeps lines whole and in order with what the kernel says; it may not exist yet. */
	kmsg = role == ROLE_VISITOR ? -1 : open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	if (kmsg < 0 ? write(STDERR_FILENO, line + level, (size_t)n - level) < 0 : write(kmsg, line, (size_t)n) < 0) {
		/* there is nobody left to tell */
	}
	if (kmsg >= 0)
		close(kmsg);
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *place)
{
	(void)status, (void)kind, (void)place;
	remove(path);
	return 0;
}

/* Nothing stays behind on a machine we visit: neither what was started nor what was written. */
static _Noreturn void leave(void)
{
	end_children();
	if (chdir("/") == 0)
		nftw(work, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
	_exit(0);
}

_Noreturn void power_off(const char *format, ...)
{
	char why[256];
	va_list args;

	va_start(args, format);
	vsnprintf(why, sizeof(why), format, args);
	va_end(args);
	say("power off: %s", why);
	if (role == ROLE_VISITOR)
		leave();
	reboot(RB_AUTOBOOT);
	for (;;)
		pause();
}

void note(const char *format, ...)
{
	char text[sizeof(notes[0])];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	say("%s", text);
	if (note_count < sizeof(notes) / sizeof(notes[0]))
		strcpy(notes[note_count++], text);
}

static void note_errno(const char *step, const char *subject)
{
	note("%s %s: %s", step, subject, strerror(errno));
}

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

/* Appends a JSON string; bytes outside printable ASCII are escaped as if they were Latin-1. */
static size_t put_string(char *into, size_t size, size_t at, const char *text)
{
	if (at + 1 < size)
		into[at++] = '"';
	for (; *text && at + 8 < size; text++) {
		unsigned char c = (unsigned char)*text;

		if (c < 0x20 || c >= 0x7f || c == '"' || c == '\\')
			at += (size_t)snprintf(into + at, size - at, "\\u%04x", c);
		else
			into[at++] = (char)c;
	}
	if (at + 1 < size)
		into[at++] = '"';
	return at;
}

static size_t put_raw(char *into, size_t size, size_t at, const char *text)
{
	size_t n = strlen(text);

	if (at + n >= size)
		return at;
	memcpy(into + at, text, n);
	return at + n;
}

size_t describe_machine(char *into, size_t size, const char *renewed)
{
	struct utsname self;
	char cmdline[4096], number[64];
	size_t at = 0;

	uname(&self);
	read_file("/proc/cmdline", cmdline, sizeof(cmdline));
	at = put_raw(into, size, at, "{\"protocol\":1,\"release\":");
	at = put_string(into, size, at, self.release);
	at = put_raw(into, size, at, ",\"version\":");
	at = put_string(into, size, at, self.version);
	at = put_raw(into, size, at, ",\"machine\":");
	at = put_string(into, size, at, self.machine);
	snprintf(number, sizeof(number), ",\"page_size\":%ld,\"cmdline\":", sysconf(_SC_PAGESIZE));
	at = put_raw(into, size, at, number);
	at = put_string(into, size, at, cmdline);
	if (*renewed) {
		at = put_raw(into, size, at, ",\"renewed\":");
		at = put_string(into, size, at, renewed);
	}
	at = put_raw(into, size, at, ",\"notes\":[");
	for (size_t i = 0; i < note_count; i++) {
		at = put_raw(into, size, at, i ? "," : "");
		at = put_string(into, size, at, notes[i]);
	}
	return put_raw(into, size, at, "]}");
}
