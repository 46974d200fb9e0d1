/* The guest as a machine: mounts, modules, settings, the port, and its end. */
#ifndef SEALMATRIX_MACHINE_H
#define SEALMATRIX_MACHINE_H

#include <stddef.h>

/*
 * What we are: PID 1 of a guest that has nothing else; a process beside another PID 1 (virtme); or a visitor on a
 * machine that belongs to somebody, reached over a pair of pipes, which leaves it as it found it.
 */
enum role { ROLE_INIT, ROLE_RESIDENT, ROLE_VISITOR };
extern enum role role;
extern const char *work; /* the work directory, an absolute path */

/* One line on the console; a visitor's go to standard error. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A step of the set-up that failed: on the console now, in hello later. */
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * Say why, then end the machine: QEMU runs with -no-reboot, so a reset is its exit on every architecture. A visitor ends
 * what it started and removes its work directory instead.
 */
_Noreturn void power_off(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Mount, load, set, as far as the role allows; a step that fails is noted for hello and the rest goes on. */
void set_up_machine(void);

/* The contents of a small file without its last newlines, ended by NUL; "" when it cannot be read. Returns the length. */
size_t read_file(const char *path, char *into, size_t size);

/* A socket that becomes readable when a device comes; -1 in a kernel without CONFIG_NET. */
int open_uevents(void);

/* Wait for the port the host named and open it, blocking. */
int open_port(const char *name);

/* The body of hello; returns its length. `renewed` is the name a restored guest was given, "" in one that just booted. */
size_t describe_machine(char *into, size_t size, const char *renewed);

#endif
