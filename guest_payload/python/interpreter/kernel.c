/* SPDX-License-Identifier: MIT */
/*
 * The module _kernel: system calls as they are, and memory touched so that a fault is an answer and not the end.
 *
 *	syscall(number, *arguments) -> int       what the kernel returned; -errno when it refused
 *	read(address, length) -> bytes           raises Fault
 *	write(address, data)                     raises Fault
 *	address(buffer) -> int                   where a bytearray's or a bytes object's memory is
 *	key_rights([rights]) -> int or None      the thread's protection-key rights (x86: PKRU); None where there are none
 *
 * An argument of a system call is an integer (its low 64 bits count), None (0), or an object with a buffer, whose
 * address is passed. Fault is an OSError: errno EFAULT, and .signal, .code, .address as the handler got them.
 */
#define _GNU_SOURCE
#include <Python.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { ARGUMENTS = 6 };

static PyObject *fault_type;

/* ------------------------------------------------------------------ touching memory that may fault */

static _Thread_local sigjmp_buf landing;
static _Thread_local volatile sig_atomic_t armed;
static _Thread_local volatile int fault_signal, fault_code;
static _Thread_local volatile uintptr_t fault_address;

/*
 * A signal is delivered with the default rights of protection keys, and since the handler is left by a jump nobody
 * gives the thread its own back: we do. Reading them without the feature is a fault of its own, so only after a key
 * was had (key_rights() is called then).
 */
#ifdef __x86_64__
static _Thread_local volatile int has_keys;

static unsigned int read_rights(void)
{
	unsigned int rights;

	__asm__ volatile(".byte 0x0f, 0x01, 0xee" : "=a"(rights) : "c"(0) : "rdx"); /* rdpkru */
	return rights;
}

static void write_rights(unsigned int rights)
{
	__asm__ volatile(".byte 0x0f, 0x01, 0xef" : : "a"(rights), "c"(0), "d"(0) : "memory"); /* wrpkru */
}

/* Whether the kernel has switched the instructions on: CPUID 7, ECX bit 4 (OSPKE). */
static int keys_are_there(void)
{
	unsigned int a = 7, b, c = 0, d;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	return c >> 4 & 1;
}
#endif

static void on_fault(int number, siginfo_t *info, void *context)
{
	(void)context;
	if (!armed) { /* not ours: returning here faults again, and then it kills as it would have */
		signal(number, SIG_DFL);
		return;
	}
	armed = 0;
	fault_signal = number;
	fault_code = info->si_code;
	fault_address = (uintptr_t)info->si_addr;
	siglongjmp(landing, 1);
}

struct handlers {
	struct sigaction segv, bus;
};

/* For the time of one access only: a handler that stays would hide the faults of others. */
static void arm(struct handlers *former)
{
	struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};

	sigaction(SIGSEGV, &action, &former->segv);
	sigaction(SIGBUS, &action, &former->bus);
	armed = 1;
}

static void disarm(const struct handlers *former)
{
	armed = 0;
	sigaction(SIGSEGV, &former->segv, NULL);
	sigaction(SIGBUS, &former->bus, NULL);
}

/* By bytes at the ends and by words between: device memory and guard pages are read no further than they are asked for. */
static void copy(volatile unsigned char *to, const volatile unsigned char *from, size_t length)
{
	while (length && ((uintptr_t)to % 8 || (uintptr_t)from % 8 || length < 8)) {
		*to++ = *from++;
		length--;
	}
	for (; length >= 8; length -= 8, to += 8, from += 8)
		*(volatile uint64_t *)to = *(const volatile uint64_t *)from;
	while (length--)
		*to++ = *from++;
}

/* 0, or the signal that ended it. */
static int guarded_copy(unsigned char *to, const unsigned char *from, size_t length)
{
	struct handlers former;
	int number = 0;

#ifdef __x86_64__
	volatile unsigned int rights = has_keys ? read_rights() : 0;
#endif
	arm(&former);
	if (sigsetjmp(landing, 0) == 0) {
		copy(to, from, length);
	} else {
		number = fault_signal;
#ifdef __x86_64__
		if (has_keys)
			write_rights(rights);
#endif
	}
	disarm(&former);
	return number;
}

static PyObject *raise_fault(void)
{
	PyObject *error = PyObject_CallFunction(fault_type, "is", EFAULT, strerror(EFAULT));
	PyObject *number = PyLong_FromLong(fault_signal), *code = PyLong_FromLong(fault_code);
	PyObject *address = PyLong_FromUnsignedLong(fault_address);

	if (error && number && code && address && !PyObject_SetAttrString(error, "signal", number) &&
	    !PyObject_SetAttrString(error, "code", code) && !PyObject_SetAttrString(error, "address", address))
		PyErr_SetObject(fault_type, error);
	Py_XDECREF(error);
	Py_XDECREF(number);
	Py_XDECREF(code);
	Py_XDECREF(address);
	return NULL;
}

static PyObject *kernel_read(PyObject *self, PyObject *arguments)
{
	unsigned long long address;
	Py_ssize_t length;
	PyObject *bytes;

	(void)self;
	if (!PyArg_ParseTuple(arguments, "Kn", &address, &length))
		return NULL;
	bytes = PyBytes_FromStringAndSize(NULL, length);
	if (bytes && guarded_copy((unsigned char *)PyBytes_AS_STRING(bytes), (unsigned char *)(uintptr_t)address,
				  (size_t)length)) {
		Py_DECREF(bytes);
		return raise_fault();
	}
	return bytes;
}

static PyObject *kernel_write(PyObject *self, PyObject *arguments)
{
	unsigned long long address;
	Py_buffer data;
	int number;

	(void)self;
	if (!PyArg_ParseTuple(arguments, "Ky*", &address, &data))
		return NULL;
	number = guarded_copy((unsigned char *)(uintptr_t)address, data.buf, (size_t)data.len);
	PyBuffer_Release(&data);
	if (number)
		return raise_fault();
	Py_RETURN_NONE;
}

/* ------------------------------------------------------------------ system calls */

/* One argument as a long. A buffer stays held in *held until the call is over. Returns false with an exception set. */
static int as_long(PyObject *object, long *value, Py_buffer *held)
{
	if (object == Py_None) {
		*value = 0;
		return 1;
	}
	if (PyLong_Check(object)) {
		*value = (long)PyLong_AsUnsignedLongLongMask(object);
		return !PyErr_Occurred();
	}
	if (PyObject_GetBuffer(object, held, PyBUF_SIMPLE))
		return 0;
	*value = (long)held->buf;
	return 1;
}

static PyObject *kernel_syscall(PyObject *self, PyObject *const *given, Py_ssize_t count)
{
	Py_buffer held[ARGUMENTS] = {{0}};
	long number, a[ARGUMENTS] = {0}, result = 0;
	int good;

	(void)self;
	if (count < 1 || count > ARGUMENTS + 1) {
		PyErr_Format(PyExc_TypeError, "a system call has a number and up to %d arguments", ARGUMENTS);
		return NULL;
	}
	number = PyLong_AsLong(given[0]);
	good = !(number == -1 && PyErr_Occurred());
	for (int i = 0; good && i + 1 < count; i++)
		good = as_long(given[i + 1], &a[i], &held[i]);
	if (good) {
		Py_BEGIN_ALLOW_THREADS
		result = syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
		if (result == -1)
			result = -errno;
		Py_END_ALLOW_THREADS
	}
	for (int i = 0; i < ARGUMENTS; i++)
		if (held[i].obj)
			PyBuffer_Release(&held[i]);
	if (!good)
		return NULL;
	if (PyErr_CheckSignals())
		return NULL;
	return PyLong_FromLong(result);
}

static PyObject *kernel_address(PyObject *self, PyObject *object)
{
	Py_buffer view;
	PyObject *address;

	(void)self;
	if (PyObject_GetBuffer(object, &view, PyBUF_SIMPLE))
		return NULL;
	address = PyLong_FromVoidPtr(view.buf);
	PyBuffer_Release(&view);
	return address;
}

static PyObject *kernel_key_rights(PyObject *self, PyObject *arguments)
{
	PyObject *wanted = NULL;

	(void)self;
	if (!PyArg_ParseTuple(arguments, "|O!", &PyLong_Type, &wanted))
		return NULL;
#ifdef __x86_64__
	if (keys_are_there()) {
		has_keys = 1;
		if (wanted)
			write_rights((unsigned int)PyLong_AsUnsignedLongMask(wanted));
		return PyLong_FromUnsignedLong(read_rights());
	}
#endif
	Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
	{"syscall", (PyCFunction)(void (*)(void))kernel_syscall, METH_FASTCALL, NULL},
	{"read", kernel_read, METH_VARARGS, NULL},
	{"write", kernel_write, METH_VARARGS, NULL},
	{"address", kernel_address, METH_O, NULL},
	{"key_rights", kernel_key_rights, METH_VARARGS, NULL},
	{NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
	.m_base = PyModuleDef_HEAD_INIT,
	.m_name = "_kernel",
	.m_size = -1,
	.m_methods = methods,
};

PyMODINIT_FUNC PyInit__kernel(void);

PyMODINIT_FUNC PyInit__kernel(void)
{
	PyObject *module = PyModule_Create(&definition);

	fault_type = PyErr_NewException("_kernel.Fault", PyExc_OSError, NULL);
	if (!module || !fault_type || PyModule_AddObjectRef(module, "Fault", fault_type)) {
		Py_XDECREF(module);
		return NULL;
	}
	return module;
}
