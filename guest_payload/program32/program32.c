/* SPDX-License-Identifier: MIT */
/*
 * A 32-bit program that the payload has in it and starts (c/ops_program32.c): i386 on x86_64, EABI on arm64. It does
 * one thing and tells what the kernel answered; it has no C library, and nothing of it is in the payload's own process.
 *
 *	program32 TO WHAT SEAL A B C
 *
 * TO is a descriptor for two numbers of 32 bits: what mseal answered, an errno or -1 where it was not called, and what
 * was answered to what is asked for, an errno. SEAL is 1 where the program seals its memory first. A, B and C are
 * arguments.
 */
#include <stdint.h>

#if defined(__i386__)
enum {
	NR_EXIT_GROUP = 252, NR_WRITE = 4, NR_MMAP2 = 192, NR_MUNMAP = 91, NR_MPROTECT = 125, NR_MREMAP = 163,
	NR_MADVISE = 219, NR_PROCESS_VM_WRITEV = 348,
};
__asm__(".globl _start\n_start:\n\tmovl %esp, %eax\n\tandl $-16, %esp\n\tsubl $12, %esp\n\tpushl %eax\n\tcall begin\n");

static long call(long number, long a, long b, long c, long d, long e, long f)
{
	const long arguments[] = {number, a, b, c, d, e, f};
	long result;

	/* ebp has the sixth, and may be the frame's: by way of the stack */
	__asm__ volatile("pushl %%ebp\n\tpushl %%ebx\n\t"
			 "movl 4(%%eax), %%ebx\n\tmovl 8(%%eax), %%ecx\n\tmovl 12(%%eax), %%edx\n\t"
			 "movl 16(%%eax), %%esi\n\tmovl 20(%%eax), %%edi\n\tmovl 24(%%eax), %%ebp\n\t"
			 "movl (%%eax), %%eax\n\t"
			 "int $0x80\n\tpopl %%ebx\n\tpopl %%ebp"
			 : "=a"(result)
			 : "0"(arguments)
			 : "ecx", "edx", "esi", "edi", "memory");
	return result;
}
#elif defined(__arm__)
enum {
	NR_EXIT_GROUP = 248, NR_WRITE = 4, NR_MMAP2 = 192, NR_MUNMAP = 91, NR_MPROTECT = 125, NR_MREMAP = 163,
	NR_MADVISE = 220, NR_PROCESS_VM_WRITEV = 377,
};
__asm__(".globl _start\n.type _start, %function\n.arm\n_start:\n\tmov r0, sp\n\tbic sp, sp, #7\n\tb begin\n");

static long call(long number, long a, long b, long c, long d, long e, long f)
{
	register long r0 __asm__("r0") = a, r1 __asm__("r1") = b, r2 __asm__("r2") = c, r3 __asm__("r3") = d;
	register long r4 __asm__("r4") = e, r5 __asm__("r5") = f, r7 __asm__("r7") = number;

	__asm__ volatile("svc 0"
			 : "+r"(r0)
			 : "r"(r1), "r"(r2), "r"(r3), "r"(r4), "r"(r5), "r"(r7)
			 : "memory");
	return r0;
}
#else
#error "no system calls for this architecture"
#endif

enum {
	NR_PROCESS_MADVISE = 440, NR_MSEAL = 462,
	READ = 1, WRITE = 2,
	SHARED = 1, PRIVATE = 2, FIXED = 0x10, ANONYMOUS = 0x20, NOREPLACE = 0x100000,
	MAY_MOVE = 1, MOVE = 3,
	DONTNEED = 4,
	UNITS = 3, PAGE = 65536, /* no page is larger */
};

struct question {
	long what, seal, a, b, c;
};

struct range {
	uint32_t start, length;
};

static long map(long at, long length, long protection, long flags, long object)
{
	return call(NR_MMAP2, at, length, protection, flags, object, 0);
}

static int failed(long result)
{
	return (unsigned long)result > -4096ul;
}

/* A page that is to be ours, with plain ones around it, and a part of them sealed. */
static long own_memory(const struct question *q, int32_t *sealed)
{
	long at = map(0, UNITS * PAGE, READ | WRITE, PRIVATE | ANONYMOUS, -1);

	if (failed(at))
		return at;
	for (int i = 0; i < UNITS; i++)
		*(volatile unsigned char *)(at + i * PAGE) = (unsigned char)(0xa0 + i);
	if (failed(call(NR_MPROTECT, at, UNITS * PAGE, READ, 0, 0, 0)))
		return -1;
	if (q->seal)
		*sealed = -(int32_t)call(NR_MSEAL, at + PAGE, PAGE, 0, 0, 0, 0);
	return at + PAGE;
}

/* What the payload's operations are called, by their letter. */
static long answer(const struct question *q, int32_t *sealed)
{
	struct range there = {(uint32_t)q->b, (uint32_t)q->c}, here;
	unsigned char byte = 0x66;
	long at;

	switch (q->what) {
	case 'n': /* nothing */
		return 0;
	case 'e': /* is anything of the program before this one left at A, B bytes? */
		at = map(q->a, q->b, 0, PRIVATE | ANONYMOUS | NOREPLACE, -1);
		return failed(at) ? at : at != q->a ? -17 : call(NR_MUNMAP, at, q->b, 0, 0, 0, 0);
	case 'b': /* a range that ends beyond all a 32-bit program can name */
		return call(NR_MSEAL, -PAGE, 2 * PAGE, 0, 0, 0, 0);
	case 'o': /* another mapping of the object A, of B bytes: sealed, and unmapped */
		at = map(0, q->b, READ, SHARED, q->a);
		if (failed(at))
			return at;
		*sealed = -(int32_t)call(NR_MSEAL, at, q->b, 0, 0, 0, 0);
		return *sealed > 0 ? -*sealed : 0;
	case 'a': /* of the process that A stands for, discard C bytes at B */
		at = call(NR_PROCESS_MADVISE, q->a, (long)&there, 1, DONTNEED, 0, 0);
		return at == q->c ? 0 : at;
	case 'w': /* write to B of the process A */
		here = (struct range){(uint32_t)(uintptr_t)&byte, 1};
		there.length = 1;
		at = call(NR_PROCESS_VM_WRITEV, q->a, (long)&here, 1, (long)&there, 1, 0);
		return at == 1 ? 0 : at;
	}
	at = own_memory(q, sealed);
	if (failed(at) || *sealed > 0)
		return *sealed > 0 ? -*sealed : at;
	switch (q->what) {
	case 's':
		return 0;
	case 'u':
		return call(NR_MUNMAP, at, PAGE, 0, 0, 0, 0);
	case 'p':
		return call(NR_MPROTECT, at, PAGE, READ | WRITE, 0, 0, 0);
	case 'm':
		return call(NR_MREMAP, at, PAGE, PAGE, MOVE, at - 64 * PAGE, 0);
	case 'f':
		return map(at, PAGE, READ, PRIVATE | ANONYMOUS | FIXED, -1);
	case 'd':
		return call(NR_MADVISE, at, PAGE, DONTNEED, 0, 0, 0);
	}
	return -38;
}

static long number(const char *text)
{
	unsigned long value = 0;

	for (; *text >= '0' && *text <= '9'; text++)
		value = value * 10 + (unsigned long)(*text - '0');
	return (long)value;
}

/* The stack as the kernel leaves it: how many arguments, and the arguments. */
__attribute__((used)) _Noreturn void begin(const long *stack)
{
	char *const *arguments = (char *const *)(stack + 1);
	int32_t told[2] = {-1, 0};

	if (stack[0] == 7) {
		struct question q = {.what = arguments[2][0], .seal = number(arguments[3]), .a = number(arguments[4]),
			.b = number(arguments[5]), .c = number(arguments[6])};
		long result = answer(&q, &told[0]);

		told[1] = failed(result) ? -(int32_t)result : 0;
		call(NR_WRITE, number(arguments[1]), (long)told, sizeof(told), 0, 0, 0);
	}
	for (;;)
		call(NR_EXIT_GROUP, stack[0] == 7 ? 0 : 2, 0, 0, 0, 0, 0);
}
