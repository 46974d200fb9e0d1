/* SPDX-License-Identifier: MIT */
/*
 * A plugin of QEMU: counts the instructions that a guest runs between two marks, by the address at which each stretch
 * of translated code begins, in a file that is there even when QEMU is killed.
 *
 *	-plugin functions.so,out=FILE,begin=HEX,end=HEX
 *
 * The marks are instructions that do nothing and that nobody else uses (guest_payload/cost/counter.h), as bytes in
 * hexadecimal. The file is an array of struct place, as the machine has numbers; unused ones are zero.
 *
 * What is declared here of QEMU's interface is its documented ABI (docs/devel/tcg-plugins): version 1 until QEMU 8.x,
 * 4 from 9.1 on, where reading an instruction's bytes is another call.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef API
#error "say which version of the interface: -DAPI=1 or -DAPI=4"
#endif

struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { NO_REGISTERS = 0 };
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t number);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
#if API >= 3
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *into, size_t size);
#else
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
#endif
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, void (*run)(uint64_t id, struct qemu_plugin_tb *tb));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, void (*run)(unsigned cpu, void *argument), int flags,
					  void *argument);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, void (*run)(unsigned cpu, void *argument),
					    int flags, void *argument);

__attribute__((visibility("default"))) int qemu_plugin_version = API;

enum { PLACES = 1 << 18, LONGEST = 16 };

struct place {
	uint64_t address;
	uint64_t instructions;
};

struct mark {
	uint8_t bytes[LONGEST];
	size_t size;
};

/* What is run when a stretch of code begins: how many instructions it has. */
struct stretch {
	struct place *place;
	uint64_t instructions;
};

static struct place *places;
static struct mark begin, end;
static bool counting;

static struct place *place_of(uint64_t address)
{
	size_t at = (address >> 1) * 0x9e3779b97f4a7c15ull >> 46;

	for (size_t tried = 0; tried < PLACES; tried++, at = (at + 1) % PLACES)
		if (!places[at].address || places[at].address == address) {
			places[at].address = address;
			return &places[at];
		}
	return NULL;
}

static void on_stretch(unsigned cpu, void *argument)
{
	struct stretch *stretch = argument;

	(void)cpu;
	if (counting)
		stretch->place->instructions += stretch->instructions;
}

static void on_mark(unsigned cpu, void *argument)
{
	(void)cpu;
	counting = argument == &begin;
}

static bool is_mark(struct qemu_plugin_insn *insn, const struct mark *mark)
{
#if API >= 3
	uint8_t bytes[LONGEST];
	size_t size = qemu_plugin_insn_data(insn, bytes, sizeof(bytes));
#else
	const uint8_t *bytes = qemu_plugin_insn_data(insn);
	size_t size = qemu_plugin_insn_size(insn);
#endif
	return size == mark->size && !memcmp(bytes, mark->bytes, size);
}

static void on_translation(uint64_t id, struct qemu_plugin_tb *tb)
{
	struct stretch *stretch = calloc(1, sizeof(*stretch));
	size_t count = qemu_plugin_tb_n_insns(tb);

	(void)id;
	if (!stretch || !(stretch->place = place_of(qemu_plugin_tb_vaddr(tb)))) {
		free(stretch);
		return;
	}
	stretch->instructions = count;
	qemu_plugin_register_vcpu_tb_exec_cb(tb, on_stretch, NO_REGISTERS, stretch);
	for (size_t i = 0; i < count; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);

		if (is_mark(insn, &begin))
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_mark, NO_REGISTERS, &begin);
		else if (is_mark(insn, &end))
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_mark, NO_REGISTERS, &end);
	}
}

static bool read_mark(const char *text, struct mark *mark)
{
	for (; text[0] && text[1] && mark->size < LONGEST; text += 2) {
		const char byte[] = {text[0], text[1], 0};

		mark->bytes[mark->size++] = (uint8_t)strtoul(byte, NULL, 16);
	}
	return mark->size && !*text;
}

static bool open_places(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	void *got;

	if (fd < 0 || ftruncate(fd, PLACES * sizeof(struct place)))
		return false;
	got = mmap(NULL, PLACES * sizeof(struct place), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	places = got == MAP_FAILED ? NULL : got;
	return places;
}

__attribute__((visibility("default"))) int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv)
{
	bool good = true;

	(void)info;
	for (int i = 0; i < argc; i++)
		if (!strncmp(argv[i], "out=", 4))
			good &= open_places(argv[i] + 4);
		else if (!strncmp(argv[i], "begin=", 6))
			good &= read_mark(argv[i] + 6, &begin);
		else if (!strncmp(argv[i], "end=", 4))
			good &= read_mark(argv[i] + 4, &end);
	if (!good || !places || !begin.size || !end.size) {
		fprintf(stderr, "functions: needs out=FILE,begin=HEX,end=HEX\n");
		return 1;
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
	return 0;
}
